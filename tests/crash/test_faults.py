"""Faults made in a running server: each ends in a 4xx or a retry, never in a lost message, a crash loop or a spin.

Clients note every 250 by number, the next hop records what it takes; in the end everything acknowledged is there, and the server
has recovered by itself. `MAILMOAT_TEST_SOAK=1` runs the long forms: every durable step, over a hundred kills, more damage.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
from tests.crash.faults import Injection
from tests.doubles.next_hop import Message, NextHop
from tests.doubles.senders import LARGE, Senders
from tests.integration.conftest import Server, wait_for
from tests.integration.test_budgets import BODY, Flood
from tests.processes import assert_rests

from mailmoat import _native
from mailmoat.receive.descriptors import SPARE

SOAK = os.environ.get("MAILMOAT_TEST_SOAK") == "1"
SYNC, LINK, UNLINK = "fsync,fdatasync", "link,linkat", "unlink,unlinkat"
RENAME = "rename,renameat,renameat2"
NOT_NOW, READY = "421 4.3.2 not now", "220 hop.test"
"""Greetings of the next hop."""


@pytest.fixture
def running(server, hop):
    """`running()` gives a server with one worker whose next hop is `hop`, and its clients; checked at the end."""
    made: list[tuple[Server, Senders]] = []

    def make(**environment: str) -> tuple[Server, Senders]:
        started = server(
            **{
                "MAILMOAT_WORKERS": "1",
                "MAILMOAT_DRAIN_TIME": "2",
                "MAILMOAT_ADMIN__LISTEN": "off",
                "MAILMOAT_DELIVERY__NEXT_HOP": f"smtp://127.0.0.1:{hop.port}",
                "MAILMOAT_DELIVERY__RETRY": "1s",
                "MAILMOAT_LIMITS__MEMORY_CONTENT": "20KiB",
                "MAILMOAT_LIMITS__IDLE_COMMANDS": "0",
                **environment,
            }
        )
        made.append((started, Senders(started.port)))
        return made[-1]

    yield make
    for _, senders in made:
        senders.stop()


def all_arrive(senders: Senders, hop: NextHop, seconds: float = 40) -> None:
    """Everything acknowledged is at the next hop, and no refusal was for good."""
    senders.stop()
    wait_for(lambda: senders.acknowledged <= hop.ids().keys(), seconds, "delivery of all that was acknowledged")
    assert all(400 <= reply.code < 500 for reply in senders.refused), senders.refused


def worker(server: Server) -> int:
    """The worker of a server that has one, without admin process."""
    return wait_for(lambda: next(iter(server.pids()), 0), what="worker")


def events(server: Server, name: str) -> list[dict[str, object]]:
    lines = server.log.read_text(errors="replace").splitlines()
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return [entry for entry in found if entry.get("event") == name]


# --- the disk ---


@pytest.mark.parametrize(
    ("calls", "fault", "refuses"),
    [
        (SYNC, "error=EIO", True),
        ("pwrite64", "error=ENOSPC", True),
        ("pwrite64,ftruncate", "error=EROFS", True),
        (LINK, "error=EIO", True),
        (UNLINK, "error=EIO", False),
        ("openat,mkdir,mkdirat", "error=EROFS:when=1+2", False),
        (SYNC, "error=EIO:when=3+3", True),
    ],
)
def test_failing_system_calls(running, hop, calls, fault, refuses):
    server, senders = running()
    pid = worker(server)
    senders.start()
    senders.more()
    with Injection(pid, calls, fault):
        if refuses:
            wait_for(lambda: len(senders.refused) > 3, what="4xx")
        else:
            wait_for(lambda: len(senders.acknowledged) + len(senders.refused) + senders.lost > 60, what="commands")
        senders.stop()
        assert_rests(pid)
    senders.start()
    senders.more(20)
    all_arrive(senders, hop)
    assert worker(server) == pid
    assert not events(server, "process-restart")


def test_a_large_body_is_written_whole_though_a_signal_interrupts_it(running, hop):
    server, senders = running(MAILMOAT_LIMITS__MEMORY_CONTENT="2MiB")
    senders.large = 700_000
    with Injection(worker(server), "writev", "error=EINTR:when=1+2"):
        senders.start()
        senders.more(30)
    all_arrive(senders, hop)
    assert not senders.refused


@pytest.mark.parametrize("calls", [SYNC, RENAME, UNLINK])
def test_failing_maildir(running, tmp_path, calls):
    """The next hop's own disk: nothing is refused, all is tried again."""
    server, senders = running(MAILMOAT_DELIVERY__NEXT_HOP=f"maildir:{tmp_path / 'maildir'}")
    pid = worker(server)
    senders.send()
    wait_for(server.delivered, what="delivery")
    with Injection(pid, calls, "error=EIO:when=1+2"):
        senders.start()
        wait_for(lambda: len(senders.acknowledged) + len(senders.refused) > 30, what="commands")
        senders.stop()

    def names() -> set[str]:
        return {path.read_text().split("Message-ID: <")[1].partition("@")[0] for path in server.delivered()}

    wait_for(lambda: names() == senders.acknowledged, what="delivery of all that was acknowledged")
    assert worker(server) == pid


def test_files_that_cannot_grow(running, hop):
    """EFBIG for the spool, content files and the log alike."""
    server, senders = running()
    pid = worker(server)
    senders.start()
    senders.more()
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))
    wait_for(lambda: len(senders.refused) > 3, what="4xx")
    senders.stop()
    assert_rests(pid)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    senders.start()
    senders.more(20)
    all_arrive(senders, hop)
    assert worker(server) == pid


def test_full_disk(running, hop, disk):
    hop.rules["greeting"] = NOT_NOW
    server, senders = running(MAILMOAT_SPOOL_DIR=str(disk / "spool"), MAILMOAT_PRESSURE__DISK="off")
    senders.start()
    wait_for(lambda: len(senders.refused) > 5, what="452")
    senders.stop()
    assert {reply.code for reply in senders.refused} == {452}
    assert_rests(worker(server))
    hop.rules["greeting"] = READY
    all_arrive(senders, hop, 60)
    senders.send(5)
    all_arrive(senders, hop)


def test_a_disk_that_fills_closes_the_door_and_opens_it_again(running, hop, disk):
    """Pages free inside the database count as room: the file does not shrink when the queue is delivered."""
    hop.rules["greeting"] = NOT_NOW
    server, senders = running(MAILMOAT_SPOOL_DIR=str(disk / "spool"))
    senders.start()
    wait_for(lambda: any(line["pressure"] == "high" for line in events(server, "pressure-changed")), what="pressure")
    senders.stop()
    hop.rules["greeting"] = READY
    all_arrive(senders, hop, 60)
    wait_for(lambda: events(server, "pressure-changed")[-1]["pressure"] == "normal", what="the end of the pressure")
    senders.send(5)
    all_arrive(senders, hop)


def test_no_room_for_the_announced_size_is_said_at_mail(running, hop, disk):
    """RFC 1870 6.1: before a single octet of it has come."""
    server, senders = running(MAILMOAT_SPOOL_DIR=str(disk / "spool"))
    client = server.client()
    for _ in range(2):
        assert client.expect("MAIL FROM:<s@client.test> SIZE=30000000", 452).enhanced == "4.3.1"
    client.expect("MAIL FROM:<s@client.test> SIZE=300000", 250)
    senders.send(3)
    all_arrive(senders, hop)


@pytest.mark.parametrize("sources", [1, 40])
def test_unfinished_content_cannot_fill_the_disk(running, hop, disk, sources):
    """One address gets a share of the room; all together leave room for small mail, and for emptying the queue."""
    server, senders = running(MAILMOAT_SPOOL_DIR=str(disk / "spool"))
    senders.send(3)
    with Flood(server.port, first=2, sources=sources) as flood:
        flood.add(40, b"Subject: x\r\n\r\n" + BODY * 10_000)
        senders.send(5)
        if sources == 1:
            assert shutil.disk_usage(disk).free > shutil.disk_usage(disk).total / 2
            senders.send(3, 300_000)
        replies = flood.end()
    assert {reply[:9] for reply in replies} <= {"250 2.6.0", "452 4.3.1"}
    assert sum(reply[:9] == "452 4.3.1" for reply in replies) > 20
    wait_for(lambda: not any(disk.glob("spool/partitions/*/content/*")), what="delivery")
    senders.send(1, 300_000)
    all_arrive(senders, hop)


def test_read_only_disk(running, hop, disk):
    """It does not start, says why, and starts when the disk is well again; the queue is what it was."""
    hop.rules["greeting"] = NOT_NOW
    server, senders = running(MAILMOAT_SPOOL_DIR=str(disk / "spool"))
    senders.send(5)
    server.stop()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    server.start(wait=False)
    wait_for(server.exited, what="refusal to start")
    assert server.process.returncode == 1
    assert "Read-only" in server.log.read_text()
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    hop.rules["greeting"] = READY
    server.start()
    all_arrive(senders, hop)


# --- kill -9 ---

STEPS = [(SYNC, 12), ("pwrite64", 20), (LINK, 3), (UNLINK, 6), (RENAME, 2), ("openat", 12)]


def kills() -> list[tuple[str, int]]:
    every = [(calls, step) for calls, most in STEPS for step in range(1, most + 1)]
    return every * 2 if SOAK else [(SYNC, 1), (SYNC, 2), ("pwrite64", 3), (LINK, 1), (UNLINK, 1)]


@pytest.mark.timeout(1200 if SOAK else 120)
def test_killed_at_durable_steps(running, hop):
    """A worker is killed at the n-th call of a kind, while it works or while it starts and adopts."""
    server, senders = running()
    hits = 0
    for round_, (calls, step) in enumerate(rounds := kills()):
        if not senders.running:
            senders.start()
        senders.more(5, 60)
        pid = worker(server)
        with Injection(pid, calls, f"signal=KILL:when={step}"):
            # A step that does not come (a small queue needs no rename) is replaced by a plain kill.
            deadline = time.monotonic() + 3
            while not gone(pid) and time.monotonic() < deadline:
                time.sleep(0.01)
            hits += gone(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if round_ % 3 == 2:
            # The guard against crash loops makes more kills wait; a whole server killed is a case of its own.
            senders.stop()
            server.kill()
            server.process.wait()
            server.start()
    all_arrive(senders, hop, 60)
    assert hits > len(rounds) / 2


def gone(pid: int) -> bool:
    """Dead, be it buried or not."""
    return not Path(f"/proc/{pid}/fd/0").exists()


def test_killed_while_it_starts(running, hop):
    """The new worker dies at its first durable steps, too: the next one does not."""
    hop.rules["greeting"] = NOT_NOW
    server, senders = running()
    senders.send(10)
    with Injection(server.process.pid, f"{RENAME},mkdir,flock", f"signal=KILL:when={2 if not SOAK else 1}"):
        first = worker(server)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: len(events(server, "process-restart")) >= 2, 20, "second death")
    hop.rules["greeting"] = READY
    all_arrive(senders, hop)
    senders.send()
    all_arrive(senders, hop)


# --- damage ---


def damage(chance: random.Random, partition: Path, kind: str) -> None:
    database, log = partition / "queue.db", partition / "queue.db-wal"
    if kind == "no database":
        database.unlink()
    elif kind == "no lock":
        (partition / "lock").unlink()
    elif kind == "no content":
        shutil.rmtree(partition / "content")
    else:
        where, _, what = kind.partition(" ")
        path = database if where == "database" else log
        octets = bytearray(path.read_bytes())
        if what == "torn":
            octets = octets[: chance.randrange(len(octets) + 1)]
        elif what == "empty":
            octets.clear()
        elif octets:
            for _ in range(int(what)):
                octets[chance.randrange(len(octets))] ^= 1 << chance.randrange(8)
        path.write_bytes(octets)


@pytest.mark.timeout(1200 if SOAK else 120)
def test_damaged_partitions(running, hop):
    """Torn, flipped and missing files: each partition is served or set aside, and the sound one is served."""
    seed = time.time_ns()
    chance = random.Random(seed)
    hop.rules["greeting"] = NOT_NOW
    server, senders = running()
    senders.send(30)
    senders.send(2, LARGE)
    killed = [server.process.pid, *server.pids()]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    server.process.wait()
    wait_for(lambda: all(gone(pid) for pid in killed), what="end of the killed")
    partitions = server.directory / "spool" / "partitions"
    [sound] = partitions.iterdir()
    kinds = ["no database", "no lock", "no content", "database torn", "database empty", "wal torn", "wal empty"]
    kinds += [f"{where} {flips}" for where in ("database", "wal") for flips in (1, 3, 30, 1000)] * (20 if SOAK else 2)
    copies = []
    for kind in kinds:
        copy = partitions / "".join(chance.choices("0123456789abcdefghjkmnpqrstvwxyz", k=len(sound.name)))
        shutil.copytree(sound, copy, ignore=shutil.ignore_patterns("control"))
        if len(copies) % 2:
            # Folded into the database first, or most flips would hit a page that the log replaces.
            subprocess.run(
                [
                    "python3",
                    "-c",
                    "import sqlite3,sys; c = sqlite3.connect(sys.argv[1]); c.execute('pragma wal_checkpoint')",
                    copy / "queue.db",
                ],
                check=True,
            )
            (copy / "queue.db-wal").touch()
        damage(chance, copy, kind)
        copies.append(copy)
    hop.rules["greeting"] = READY
    server.start()
    pid = worker(server)
    all_arrive(senders, hop)
    later = Senders(server.port, "later")
    later.send(5)
    wait_for(lambda: later.acknowledged <= hop.ids().keys(), what=f"delivery beside damage, seed {seed}")

    def settled() -> bool:
        adopted = {str(event["partition"]) for event in events(server, "partition-adopted")}
        aside = server.directory / "spool" / "damaged"
        return all((aside / copy.name).exists() or copy.name in adopted for copy in copies)

    wait_for(settled, 400 if SOAK else 60, f"partition served or set aside for each, seed {seed}")
    assert worker(server) == pid, seed
    assert not events(server, "process-restart"), seed
    assert_rests(pid)
    assert [message for message in hop.messages if not undamaged(message)] == [], seed


def undamaged(message: Message) -> bool:
    """Its body is what the clients sent: lines of one letter."""
    return set(message.content.partition(b"\r\n\r\n")[2]) <= set(b"x\r\n")


def test_damaged_content_is_held_and_never_sent(running, hop):
    """In a row and in a file: the others are delivered, these are set aside and logged."""
    hop.rules["greeting"] = NOT_NOW
    server, senders = running()
    senders.send(6)
    senders.send(2, LARGE)
    server.stop()
    [partition] = (server.directory / "spool" / "partitions").iterdir()
    with contextlib.closing(sqlite3.connect(partition / "queue.db")) as queue:
        octets = queue.execute("SELECT octets FROM content WHERE seq=2").fetchone()[0]
        queue.execute("UPDATE content SET octets=? WHERE seq=2", [octets.replace(b"xx", b"xy", 1)])
        queue.commit()
    file = partition / "content" / "7"
    file.write_bytes(file.read_bytes()[:-3] + b"z\r\n")
    hop.rules["greeting"] = READY
    server.start()
    damaged = {f"{partition.name}2", f"{partition.name}7"}
    wait_for(lambda: {event["queue_id"] for event in events(server, "message-damaged")} == damaged, what="damage")
    wait_for(lambda: len(hop.messages) == 6, what="delivery of the others")
    wait_for(lambda: _native.count_spool(str(server.directory / "spool")) == 2, what="end of the others")
    page = _native.queue_list(
        str(server.directory / "spool"), _native.QueueFilter(statuses=[_native.QueueStatus.DAMAGED])
    )
    assert {entry["queue_id"] for entry in page.entries} == damaged
    assert len(hop.contents) == 6
    assert all(undamaged(message) for message in hop.messages)


# --- limits of the process ---


def test_more_clients_than_descriptors(running, hop):
    """The others wait in the kernel's queue until a place is free; none is turned away, nothing spins."""
    server, senders = running()
    first = worker(server)
    _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (descriptors_for(first, 34), hard))
    os.kill(first, signal.SIGKILL)
    pid = wait_for(lambda: next((pid for pid in server.pids() if pid != first), 0), what="new worker")
    senders.send()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(60)]
        wait_for(lambda: any(map(greeted, clients)), what="greeting")
        assert_rests(pid)
        waiting = [client for client in clients if not greeted(client)]
        assert len(waiting) < 35  # 60 clients, 34 places; idle ones make way for others, one a second and more
        assert events(server, "accept-paused")
        for client in set(clients) - set(waiting):
            client.close()
        wait_for(lambda: all(map(greeted, waiting)), what="greeting of those that waited")
    senders.send(3)
    all_arrive(senders, hop)


def descriptors_for(pid: int, connections: int) -> int:
    """With so many a worker like this one has that many connections; the next hop may have 20."""
    return len(os.listdir(f"/proc/{pid}/fd")) + _native.OPEN_CONTENT_FILES + 2 * 20 + SPARE + connections


def test_descriptors_exhausted(running, hop):
    """None left for anything, by whatever: no spin, and all is well when there are some again."""
    server, senders = running()
    pid = worker(server)
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    senders.start()
    senders.more()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) - 3, hard))
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        before = len(senders.acknowledged)
        wait_for(
            lambda: len(senders.acknowledged) > before or senders.lost or len(senders.refused) > 3, what="going on"
        )
        senders.stop()
        assert_rests(pid)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    senders.start()
    senders.more(20)
    all_arrive(senders, hop)
    assert worker(server) == pid


def greeted(client: socket.socket) -> bool:
    client.settimeout(0.01)
    try:
        return client.recv(3, socket.MSG_PEEK) == b"220"
    except OSError:
        return False


def test_no_descriptor_for_a_content_file(running, hop):
    server, senders = running()
    pid = worker(server)
    senders.send()
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    client = server.client()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (10, hard))
    senders.post(client, "refused", LARGE)
    assert senders.refused[-1].code == 452
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    senders.post(client, "taken", LARGE)
    assert senders.acknowledged >= {"taken"}
    all_arrive(senders, hop)


def test_memory_limit(running, hop):
    """A worker that gets no more memory refuses or is replaced; nothing acknowledged is lost."""
    server, senders = running(MAILMOAT_LIMITS__MEMORY_CONTENT="0")
    pid = worker(server)
    senders.send(3)

    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    _, hard = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (pages * 4096 + (8 << 20), hard))
    senders.start()
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
            with contextlib.suppress(OSError):
                client.sendall(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n\r\n")
                for _ in range(500):
                    client.sendall((b"x" * 70 + b"\r\n") * 300)
    restarts = events(server, "process-restart")
    assert restarts or events(server, "session-failed") or senders.refused, "the limit was not felt"
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_AS, (hard, hard))
    senders.more(20, 60)
    all_arrive(senders, hop)
    assert len(events(server, "process-restart")) <= 2


# --- the next hop ---


def late(reply: str):
    """A rule: the reply, two seconds late."""

    def answer(_: str) -> str:
        time.sleep(2)
        return reply

    return answer


def test_next_hop_that_misbehaves_at_every_stage(running, hop):
    def owed() -> list[str]:
        return [stage for stage in stages if len(hop.rules[stage]) > 1]

    stages = ["MAIL", "greeting", "RCPT", "DATA", "EHLO", "end"]
    acts = [None, "\x16\x03\0\xff no reply\n" * 3, late, "", "250-" + "x" * 100_000][: 5 if SOAK else 4]
    # At each stage one after the other, then what is usual there; `late` is that, too late. Between those that end a connection before
    # it is one some are well: a next hop that is down is asked with growing pauses.
    for stage in stages:
        usual = hop.rules[stage]
        well = [usual] * 3 if stage in ("greeting", "EHLO") else []
        hop.rules[stage] = [rule for act in acts for rule in (late(usual) if act is late else act, *well)] + [usual]
    times = ("CONNECT", "GREETING", "MAIL", "RCPT", "DATA", "BLOCK", "END_OF_DATA")
    server, senders = running(
        MAILMOAT_DELIVERY__CONNECTIONS="4", **{f"MAILMOAT_DELIVERY__{name}_TIME": "1s" for name in times}
    )
    pid = worker(server)
    senders.send(12)
    deadline = time.monotonic() + 50
    while owed() and time.monotonic() < deadline:
        senders.send()
        time.sleep(0.2)
    assert not owed()
    all_arrive(senders, hop)
    # Twice only where the next hop had all of it and did not say so in time (RFC 1047).
    assert sum(count - 1 for count in hop.ids().values()) <= len(acts)
    assert worker(server) == pid
    assert_rests(pid)
