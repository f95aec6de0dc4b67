"""What waits: how it is shown, when it is tried again, who takes it over, what damage costs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.doubles.next_hop import NextHop
from tests.integration.conftest import free_port, wait_for

from mailmoat import _native

ALICE, BOB = "alice@example.test", "bob@example.test"


def start(server, hop, workers=1, **more):
    return server(
        **{
            "MAILMOAT_WORKERS": str(workers),
            "MAILMOAT_DELIVERY__NEXT_HOP": f"smtp://127.0.0.1:{hop.port}",
            "MAILMOAT_DELIVERY__RETRY": "1",
            **more,
        }
    )


def partitions(made):
    return sorted(path.name for path in (made.directory / "spool" / "partitions").iterdir())


def send(made, number, prefix="m", connections=1):
    names = [f"{prefix}{count}" for count in range(number)]
    for part in range(connections):
        with made.client() as client:
            for name in names[part::connections]:
                client.submit(name, ALICE)
    return names


def test_the_queue_is_listed_while_the_server_runs(server):
    hop = NextHop(free_port(), start=False)
    made = start(server, hop, MAILMOAT_DELIVERY__RETRY="10m")
    begun = int(time.time() * 1000)
    with made.client() as client:
        queue_id = client.submit("one", ALICE, BOB, body=b"x" * 500 + b"\r\n").split()[2]
    entry = wait_for(lambda: (found := made.queue()) and found[0]["attempts"] and found[0], what="first attempt")
    assert entry["queue_id"] == queue_id
    assert entry["reverse_path"] == "sender@remote.test"
    assert entry["attempts"] == 1
    assert begun <= entry["arrival"] <= time.time() * 1000
    assert 600_000 <= entry["due"] - entry["arrival"] <= 720_000
    assert entry["size"] > 500
    assert entry["owned"] is True
    assert queue_id.startswith(entry["partition"])
    assert [(recipient["address"], recipient["state"]) for recipient in entry["recipients"]] == [
        (ALICE, "pending"),
        (BOB, "pending"),
    ]
    assert all(
        recipient["reply"].startswith("421 4.4.1 No connection to 127.0.0.1") for recipient in entry["recipients"]
    )
    table = made.cli("queue", "list", check=True).stdout
    for shown in (queue_id, "sender@remote.test", ALICE, BOB, "1 message"):
        assert shown in table
    assert re.search(r"next in (9m\d+s|1[01]m)", table)
    (line,) = made.logged("delivery-attempt")
    assert line["next_attempt"].endswith("Z")
    made.stop()
    (entry,) = made.queue()
    assert (entry["owned"], entry["attempts"]) == (False, 1), "ending is no attempt"
    assert "when a worker takes it" in made.cli("queue", "list", check=True).stdout


def test_an_empty_queue(server):
    made = server()
    assert made.queue() == []
    assert made.cli("queue", "list", check=True).stdout == "The spool is empty.\n"


def test_attempts_are_counted_and_follow_the_schedule(server):
    with NextHop(RCPT="450 4.2.1 busy") as hop:
        made = start(server, hop, MAILMOAT_DELIVERY__RETRY="1*2, 1h")
        send(made, 1)
        entry = wait_for(lambda: (found := made.queue())[0]["attempts"] == 3 and found[0], what="third attempt")
        recipient = {"address": ALICE, "state": "pending", "reply": "450 4.2.1 busy", "attempts": 3}
        group = {"due": entry["due"], "next_hop": f"smtp://127.0.0.1:{hop.port}"}
        assert entry["recipients"] == [recipient | group]
        assert entry["due"] >= time.time() * 1000 + 3_500_000
        assert entry["due"] - entry["arrival"] >= 3_602_000
    assert [line["attempt"] for line in made.logged("delivery-attempt")] == [1, 2, 3]


def test_a_large_message_arrives_octet_for_octet_and_its_file_goes(server):
    body = b"".join(
        b"%06d " % number + hashlib.sha256(b"%d" % number).hexdigest().encode() + b"\r\n" for number in range(60_000)
    )
    body = b".\r\n..\r\n" + body + "caf\u00e9 \u2603\r\n.".encode() + b"\r\n"
    assert len(body) > 4_000_000
    with NextHop(MAIL=["451 4.3.0 not yet", "250 ok"]) as hop:
        made = start(server, hop)
        with made.client() as client:
            client.submit("large", ALICE, body=body)
        spool = made.directory / "spool" / "partitions"
        wait_for(lambda: list(spool.glob("*/content/*")), what="content file")
        wait_for(lambda: hop.messages, what="the message")
        wait_for(made.empty, what="empty spool")
        (received,) = hop.messages
        assert received.content.partition(b"\r\n\r\n")[2] == body
        wait_for(
            lambda: not list(spool.glob("*/content/*")) + list(spool.glob("*/incoming/*")), what="end of the files"
        )


def test_what_a_killed_worker_had_queued_arrives_all_the_same(server):
    hop = NextHop(free_port(), start=False)
    made = start(server, hop, workers=2)
    names = send(made, 60, connections=6)
    wait_for(lambda: made.count() == 60, what="60 messages in the spool")
    for pid in made.workers():
        os.kill(pid, signal.SIGKILL)
    with hop.start():
        wait_for(made.empty, what="empty spool")
        assert set(hop.ids()) == set(names)
        adopted = wait_for(lambda: made.logged("partition-adopted"), what="adoption")
        assert sum(line["messages"] for line in adopted) >= 60
        # What is empty goes: each worker has its own partition and no other.
        wait_for(lambda: len(partitions(made)) == 2, what="end of the adopted partitions")
        assert not {line["partition"] for line in adopted} & set(partitions(made))


def test_after_a_reload_with_fewer_workers_nothing_is_left_behind(server):
    hop = NextHop(free_port(), start=False)
    made = start(server, hop, workers=3, start=False)
    del made.environment["MAILMOAT_WORKERS"]
    made.config.write_text("workers = 3\n")
    made.start()
    assert len(made.workers()) == 3
    names = send(made, 90, connections=9)
    made.config.write_text("workers = 1\n")
    made.kill(signal.SIGHUP)
    wait_for(lambda: len(made.workers()) == 1, what="one worker")
    wait_for(lambda: len(partitions(made)) <= 4, what="adoption")
    assert made.count() == 90
    with hop.start():
        wait_for(made.empty, what="empty spool")
        assert hop.ids() == dict.fromkeys(names, 1), "a reload is no crash"
        wait_for(lambda: len(partitions(made)) == 1, what="end of the adopted partitions")


def test_a_damaged_partition_is_set_aside_and_the_service_goes_on(server):
    with NextHop() as hop:
        made = start(server, hop, MAILMOAT_DELIVERY__NEXT_HOP="")
        send(made, 5)
        made.stop()
        (damaged,) = partitions(made)
        good = _native.Partition.create(made.environment["MAILMOAT_SPOOL_DIR"])
        message = _native.Message(
            queue_id=good.next_queue_id(), arrival=1, reverse_path="", recipients=[ALICE],
            content=b"Message-ID: <good@remote.test>\r\n\r\nx\r\n",
        )  # fmt: skip
        good.insert(object(), message)
        good.close()
        database = made.directory / "spool" / "partitions" / damaged / "queue.db"
        database.write_bytes(b"not a database" * 2000)
        made.environment["MAILMOAT_DELIVERY__NEXT_HOP"] = f"smtp://127.0.0.1:{hop.port}"
        made.start()
        names = send(made, 5, prefix="after")
        wait_for(lambda: len(hop.messages) == 6, what="6 messages")
        assert hop.ids() == dict.fromkeys([*names, "good"], 1)
        (line,) = made.logged("partition-not-adopted")
        aside = Path(made.environment["MAILMOAT_SPOOL_DIR"]) / "damaged" / damaged
        assert damaged in line["detail"]
        assert str(aside) in line["detail"]
        assert (aside / "queue.db").read_bytes().startswith(b"not a database"), "kept for the operator as it was"
        assert damaged not in partitions(made)


# --- messages that kill their worker ---


def killing(made, number):
    """A rule for RCPT that ends the worker with a signal when it sends a message to Bob, and answers nothing."""

    def rule(line):
        if BOB not in line:
            return "250 2.1.5 ok"
        for pid in made[0].workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return None

    return rule


def test_a_message_that_kills_its_worker_twice_is_set_aside_and_the_others_arrive(server):
    running = []
    with NextHop(RCPT=killing(running, signal.SIGSEGV)) as hop:
        made = start(server, hop)
        running.append(made)
        with made.client() as client:
            names = [f"m{number}" for number in range(5)]
            killer = client.submit("killer", BOB).split()[2]
        made.until(lambda: made.logged("message-suspected"), what="suspicion")
        made.until(lambda: made.logged("message-set-aside"), what="second death", seconds=60)
        assert [line["queue_id"] for line in made.logged("message-set-aside")] == [killer]
        with made.client() as client:
            for name in names:
                client.submit(name, ALICE)
        hop.wait(lambda: set(names) <= set(hop.ids()), "the others")
        (entry,) = made.queue()
        assert entry["queue_id"] == killer, "visible"
        assert len(made.logged("process-restart")) == 2, "not tried a third time"


def test_a_kill_by_an_operator_is_no_fault_of_a_message(server):
    running = []
    with NextHop(RCPT=killing(running, signal.SIGKILL)) as hop:
        made = start(server, hop)
        running.append(made)
        with made.client() as client:
            client.submit("killer", BOB)
        made.until(lambda: len(made.logged("partition-adopted")) >= 3, what="three deaths", seconds=60)
        assert made.logged("message-suspected") == made.logged("message-set-aside") == []


# --- a spool that goes, and one of another time ---


def deleted(directory):
    """Whether it is gone; a server that still writes there makes files while it is deleted."""
    with contextlib.suppress(OSError):
        shutil.rmtree(directory)
    return not directory.exists()


def test_a_spool_that_was_moved_or_deleted_takes_nothing_and_is_unhealthy(server):
    hop = NextHop(free_port(), start=False)
    made = start(server, hop, workers=2)
    made.until(lambda: made.logged("serving"), what="both workers")
    send(made, 3)
    spool, away = made.directory / "spool", made.directory / "away"
    spool.rename(away)
    for octets in (10, 100_000, 500_000):
        assert reply_to_content(made, octets).startswith("452 4.3.1"), octets
    made.until(lambda: len(made.logged("spool-unhealthy")) == 2, what="two workers' complaint")
    assert f"{spool} was moved or deleted" in made.logged("spool-unhealthy")[0]["detail"]
    assert health(made) == (503, ["spool unhealthy"])
    away.rename(spool)
    made.until(lambda: health(made)[0] == 200, what="recovery")
    assert len(made.logged("spool-healthy")) == 2
    assert reply_to_content(made, 10).startswith("250")
    assert made.count() == 4
    made.until(lambda: deleted(spool), what="the end of the spool")
    assert reply_to_content(made, 10).startswith("452 4.3.1")
    assert made.stop() == 0
    made.start()
    assert reply_to_content(made, 10).startswith("250"), "a restart makes a new one"


def reply_to_content(made, octets):
    client = made.client()
    client.ask("MAIL FROM:<sender@remote.test>", f"RCPT TO:<{ALICE}>", "DATA")
    lines = "\r\n".join(["x" * 70] * (octets // 72 + 1))
    reply = client.ask(f"Subject: x\r\n\r\n{lines}\r\n.")
    client.close()
    return reply


def health(made):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{made.admin}/healthz", timeout=10) as page:
            return page.status, json.loads(page.read())["reasons"]
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["reasons"]


def test_a_partition_of_a_later_version_is_told_once_and_counted(server):
    hop = NextHop(free_port(), start=False)
    made = start(server, hop)
    send(made, 3)
    made.stop()
    (tag,) = partitions(made)
    with contextlib.closing(sqlite3.connect(made.directory / "spool" / "partitions" / tag / "queue.db")) as queue:
        queue.execute("PRAGMA user_version = 99")
    made.environment["MAILMOAT_WORKERS"] = "2"
    made.start()
    made.until(lambda: made.metric("partitions_newer"), what="the partition")
    ticks = made.metric("queue_messages"), time.monotonic()
    assert ticks[0] == 3
    made.until(lambda: time.monotonic() > ticks[1] + 3, what="three looks at the spool")
    (line,) = made.logged("partition-not-adopted")
    assert tag in line["detail"]
    assert "start the version of mailmoat that made it" in line["detail"]
    assert line["messages"] == 3
    assert health(made) == (200, ["1 partition of a later version not worked on"])
    listed = made.cli("queue", "list", check=True)
    assert f"partition {tag}: 3 messages of a later version of mailmoat" in listed.stderr
    assert listed.stdout == "No other message is in the spool.\n"
    assert made.count() == 3
