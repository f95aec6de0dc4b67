"""The pieces of work, and how one sample of each is taken: start the server afresh, warm it, let the client at it, wait until it is idle.

A sample is a dictionary that goes into the JSON as it is. `cpu_us` is the CPU time of the server's whole process tree a unit
(a message, or a refused recipient), from before the client starts until the server has nothing left to do; next hop and client
are not in it. `client_busy` is the share of one core that the client took.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import linear_regression
from typing import TYPE_CHECKING, Any

from loadtest import quota, report
from loadtest.compare import dns_lists, sender_id, tls
from loadtest.processes import ROOT, Trouble, free_port, growth
from loadtest.servers import KNOWN, Running, Setup, program, start_sink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from loadtest.compare.peers import Peer

Sample = dict[str, Any]
SESSIONS = 50
LONGEST = 300.0
SOURCES = cycle(f"127.0.{net}.{host}" for net in range(1, 5) for host in range(1, 255))
"""Addresses of held clients: at one address alone the ports of closed connections are soon used up."""
MARGIN = 1.5
"""Seconds that held sessions are given to be released in, at both ends of the time in which all are held."""
KIB = 1024


@dataclass(frozen=True)
class Options:
    """How much of everything."""

    messages: int
    held: int
    hold: float
    large_directory: int
    queued: tuple[int, ...]
    released: int


@dataclass(frozen=True)
class Job:
    """One line of a case: who does it, and how a sample is taken."""

    label: str
    peer: Peer
    sample: Callable[[], Sample]
    missing: str = ""


def smtp_source(port: int, count: int, *, size: int = 4 * KIB, reuse: bool = False) -> None:
    """Send with Postfix's own load generator.

    Raises:
        Trouble: it is missing, or the server gave a reply it did not want.

    """
    source = program("smtp-source")
    if source is None:
        raise Trouble("smtp-source is missing: install postfix")
    addresses = ["-f", "sender@sender.example", "-t", KNOWN, "-M", "client.sender.example"]
    amounts = ["-s", str(min(SESSIONS, count)), "-m", str(count), "-l", str(size), *(["-d"] if reuse else [])]
    _client([source, *amounts, *addresses, f"127.0.0.1:{port}"])


def own_sender(port: int, count: int, *, mode: str) -> None:
    """Run sender.py. Raises Trouble as smtp_source."""
    where = ["--port", str(port), "--mode", mode, "--count", str(count), "--sessions", str(SESSIONS)]
    _client([sys.executable, "-m", "loadtest.compare.sender", *where])


def _client(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST, cwd=ROOT)
    except subprocess.TimeoutExpired:
        raise Trouble(f"the client took longer than {LONGEST:.0f} s") from None
    if done.returncode:
        raise Trouble(f"{Path(command[0]).name}: {(done.stderr or done.stdout).strip()[-300:]}")


def timed(client: Callable[[], None]) -> tuple[float, float]:
    """Run it; return the seconds and the share of a core that it used."""
    before, begun = _children_cpu(), time.perf_counter()
    client()
    seconds = time.perf_counter() - begun
    return seconds, (_children_cpu() - before) / seconds


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measured(running: Running, count: int, client: Callable[[int, int], None]) -> Sample:
    """Measure one sample of a server that is warm and idle."""
    before = running.tree.settle()
    begun = time.perf_counter()
    seconds, busy = timed(lambda: client(running.port, count))
    after = running.tree.settle()
    while running.queued():  # asked when it is idle only: asking is work too
        if time.perf_counter() - begun > LONGEST:
            raise Trouble(f"{running.queued()} messages were not handed on")
        after = running.tree.settle()
    return {
        "count": count,
        "per_second": count / seconds,
        "cpu_us": (after - before) / count * 1e6,
        "client_busy": busy,
    }


@contextmanager
def serving(peer: Peer, setup: Setup, *, relay: bool = False) -> Iterator[Running]:
    """Run a server below a fresh directory, with a next hop when it shall relay."""
    with tempfile.TemporaryDirectory(prefix="mailmoat-compare-", ignore_cleanup_errors=True) as temporary:
        sink = start_sink(Path(temporary)) if relay else None
        try:
            directory = Path(temporary) / "server"
            directory.mkdir()
            # A server that drops root has to reach its own directory.
            Path(temporary).chmod(0o755)
            running = peer.start(directory, replace(setup, next_hop=sink.port) if sink else setup)
            try:
                yield running
            finally:
                running.stop()
        finally:
            if sink is not None:
                sink.stop()


def plain(peer: Peer, setup: Setup, count: int, client: Callable[[int, int], None], *, relay: bool = False) -> Sample:
    """Measure one kind of mail on a fresh server."""
    with serving(peer, setup, relay=relay) as running:
        client(running.port, max(count // 10, min(count, SESSIONS)))
        return measured(running, count, client)


def held(peer: Peer, options: Options) -> Sample:
    """Hold many sessions twice: what they cost, how late each is answered, and what other mail notices.

    Memory is compared with a server that has just started and taken one message: one that was busy holds heap or processes that
    the sessions would then take for nothing. The first releases happen on an idle server. Other mail is measured while all are
    held and none is released, throughout the second releases, and for as long when all have gone. How long it took until all
    had asked is how long each cycle of releases lasts: the sessions of a slow ramp are not counted as held when they are not.

    Raises:
        Trouble: the ramp left no time in which all were held.

    """
    sessions = min(options.held, peer.held_limit)
    mail = partial(smtp_source, reuse=True)
    with serving(peer, Setup(tarpit=options.hold)) as running:
        mail(running.port, 1)
        running.tree.settle()
        memory, kernel = running.tree.memory(), _kernel_memory()
        begun = time.monotonic()
        wanted = max(1.0, min(options.hold / 3, sessions / 1000))
        with holders(running.port, sessions, options.hold, wanted, peer.unheld) as (asked, results):
            asked()
            full = time.monotonic()
            grown, grown_kernel = running.tree.memory(), _kernel_memory()
            quiet = options.hold - (full - begun) - MARGIN
            if quiet < MARGIN:
                raise Trouble(
                    f"{sessions} sessions took {full - begun:.0f} s to ask: hold them longer than that (--hold)"
                )
            _sleep_until(full + options.hold + 0.5)
            mail(running.port, max(options.messages // 10, SESSIONS))
            during = _while(running, full + options.hold + quiet, options.messages, mail)
            _sleep_until(begun + 2 * options.hold)
            loaded = _while(running, full + 2 * options.hold + 0.5, options.messages, mail)
            lateness, broken = results()
        running.tree.settle()
        mail(running.port, max(options.messages // 10, SESSIONS))
        free = _while(running, time.monotonic() + quiet, options.messages, mail)
    return {
        "sessions": sessions,
        "broken": broken,
        "rss_kib": growth(memory.rss, grown.rss) / sessions / KIB,
        "pss_kib": growth(memory.pss, grown.pss) / sessions / KIB,
        "kernel_kib": growth(kernel, grown_kernel) / sessions / KIB,
        "idle_ms": report.spread(lateness[0]),
        "loaded_ms": report.spread(lateness[1]),
        "free": free,
        "during": during,
        "loaded": loaded,
        "rate_held": during["per_second"] / free["per_second"],
        "cpu_held": during["cpu_us"] / free["cpu_us"],
    }


def _while(running: Running, until: float, count: int, client: Callable[[int, int], None]) -> Sample:
    """Send other mail in pieces of `count` until that moment, at least one; do not wait until the server is idle, which releases would prevent."""
    before, sent, seconds = running.tree.cpu(), 0, 0.0
    while not sent or time.monotonic() + seconds / (sent / count) < until:
        seconds += timed(lambda: client(running.port, count))[0]
        sent += count
    time.sleep(0.3)
    return {"count": sent, "per_second": sent / seconds, "cpu_us": (running.tree.cpu() - before) / sent * 1e6}


@contextmanager
def holders(
    port: int, sessions: int, hold: float, ramp: float, unheld: int
) -> Iterator[tuple[Callable[[], None], Callable[[], tuple[list[list[float]], int]]]]:
    """Start the held clients: functions that wait until all have asked, and until all have ended."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 1000
    parts = -(-sessions // min(limit, 10_000))
    base = [sys.executable, "-m", "loadtest.compare.holders", "--port", str(port), "--hold", str(hold)]
    base += ["--ramp", str(ramp), "--unheld", str(unheld)]
    with tempfile.TemporaryDirectory(prefix="mailmoat-held-") as temporary:
        files = [Path(temporary) / str(part) for part in range(parts)]
        processes = []
        for part, file in enumerate(files):
            size = sessions * (part + 1) // parts - sessions * part // parts
            command = [*base, "--sessions", str(size), "--source", next(SOURCES), "--out", str(file)]
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT))

        def asked() -> None:
            for process in processes:
                if process.stdout is None or process.stdout.readline() != "asked\n":
                    raise Trouble("the held clients failed")

        def results() -> tuple[list[list[float]], int]:
            for process in processes:
                process.communicate(timeout=LONGEST)
                if process.returncode:
                    raise Trouble("the held clients failed")
            found = [json.loads(file.read_text()) for file in files]
            cycles = zip(*(each["lateness"] for each in found), strict=True)
            return [[late for part in cycle for late in part] for cycle in cycles], sum(
                each["broken"] for each in found
            )

        try:
            yield asked, results
        finally:
            for process in processes:
                _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _kernel_memory() -> int:
    """Return the octets in the kernel's slabs and socket buffers, for both ends of loopback connections."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    pages = 0
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        words = line.split()
        if words[0] == "TCP:":
            pages = int(words[words.index("mem") + 1])
    return int(lines["Slab"].split()[0]) * KIB + pages * resource.getpagesize()


def queued(peer: Peer, options: Options) -> Sample:
    """Accept while ever more messages wait for a next hop that is down. Cost at each size of the queue, and memory a message."""
    levels: list[Sample] = []
    mail = partial(smtp_source, size=KIB, reuse=True)
    with serving(peer, Setup(next_hop=free_port())) as running:
        inside = 0
        for level in options.queued:
            while inside < level:
                more = min(level - inside, 50_000)
                mail(running.port, more)
                inside += more
            time.sleep(2)
            memory = running.tree.memory().pss
            before = running.tree.cpu()
            time.sleep(5)
            background = (running.tree.cpu() - before) / 5
            before = running.tree.cpu()
            seconds, busy = timed(lambda: mail(running.port, options.messages))
            time.sleep(0.5)
            spent = running.tree.cpu() - before
            inside += options.messages
            levels.append(
                {
                    "queued": level,
                    "per_second": options.messages / seconds,
                    "cpu_us": spent / options.messages * 1e6,
                    "client_busy": busy,
                    "background": background,
                    "memory": memory,
                }
            )
    return {"levels": levels}


def leak(peer: Peer, options: Options) -> Sample:
    """Hold and release ever more sessions; the slope of the memory over the last three quarters, octets a session."""
    batch = max(100, min(10_000, options.released // 20))
    points: list[tuple[int, int]] = []
    with serving(peer, Setup(tarpit=1.0)) as running:
        for done in range(batch, options.released + 1, batch):
            with holders(running.port, batch, 1.0, max(1.0, batch / 3000), peer.unheld) as (_, results):
                results()
            running.tree.settle()
            points.append((done, running.tree.memory().pss))
    last = points[len(points) // 4 :]
    slope = linear_regression(*zip(*last, strict=True)).slope
    return {"points": points, "octets_each": max(0.0, slope)}  # less memory than before is no leak


@dataclass(frozen=True)
class Case:
    """A named piece of work."""

    name: str
    title: str
    unit: str
    jobs: Callable[[list[Peer], Options], list[Job]]
    rounds: int = 0
    """At most so many rounds; 0: as many as asked for."""


def _compared(
    share: float, client: Callable[[int, int], None], *, relay: bool = False
) -> Callable[[list[Peer], Options], list[Job]]:
    """Measure the same work with each peer, with `share` of the requested messages."""

    def jobs(peers: list[Peer], options: Options) -> list[Job]:
        count = max(20, int(options.messages * share))
        setup = Setup(next_hop=1 if relay else None)  # the real port is known when the next hop runs
        return [
            Job(peer.name, peer, partial(plain, peer, setup, count, client, relay=relay), peer.missing(setup))
            for peer in peers
        ]

    return jobs


def _held_jobs(peers: list[Peer], options: Options) -> list[Job]:
    return [Job(peer.name, peer, partial(held, peer, options), peer.missing()) for peer in peers]


def _own(peers: list[Peer]) -> list[Peer]:
    return [peer for peer in peers if peer.name == "mailmoat"]


def _part_of_a_core(peer: Peer, setup: Setup, count: int, client: Callable[[int, int], None]) -> Sample:
    """Measure like `plain`, with each worker limited to `quota.SHARE` of a core, so that the client is not the limit."""
    with serving(peer, setup) as running:
        client(running.port, max(count // 10, min(count, SESSIONS)))
        running.tree.settle()
        with quota.limited(running.tree):
            return measured(running, count, client)


def _worker_jobs(peers: list[Peer], options: Options) -> list[Job]:
    mail = partial(smtp_source, reuse=True)
    kinds = (("", plain, ""), (f" of {quota.SHARE} core each", _part_of_a_core, quota.missing()))
    return [
        Job(
            f"{workers} worker{'s' * (workers > 1)}{kind}",
            peer,
            partial(sample, peer, Setup(workers=workers), options.messages, mail),
            missing,
        )
        for peer in _own(peers)
        for kind, sample, missing in kinds
        for workers in (1, 2)
    ]


def _directory_jobs(peers: list[Peer], options: Options) -> list[Job]:
    mail = partial(smtp_source, reuse=True)
    return [
        Job(f"{entries:,} entries", peer, partial(plain, peer, Setup(recipients=entries), options.messages, mail))
        for peer in _own(peers)
        for entries in (10, options.large_directory)
    ]


def _sender_id_jobs(peers: list[Peer], options: Options) -> list[Job]:
    kinds = (
        ("off", sender_id.off),
        ("on, name server answers in 20 ms", sender_id.on),
        ("on, name server dead", sender_id.dead),
    )
    count = 2 * options.messages
    return [Job(label, peer, partial(sample, count, measured)) for peer in _own(peers) for label, sample in kinds]


def _dns_lists_jobs(peers: list[Peer], options: Options) -> list[Job]:
    kinds = (
        ("off", dns_lists.off),
        ("two lists, answers in 5 ms", dns_lists.on),
        ("one of two lists dead", dns_lists.dead),
    )
    count = 2 * options.messages
    return [Job(label, peer, partial(sample, count, measured)) for peer in _own(peers) for label, sample in kinds]


def _tls_jobs(peers: list[Peer], options: Options) -> list[Job]:
    work = tls.jobs(peers, options.messages, min(options.held, 10_000), serving, measured)
    return [Job(label, peer, sample, peer.missing()) for label, peer, sample in work]


def _leak_jobs(peers: list[Peer], options: Options) -> list[Job]:
    return [Job(peer.name, peer, partial(leak, peer, options)) for peer in _own(peers)]


def _queued_jobs(peers: list[Peer], options: Options) -> list[Job]:
    return [Job(peer.name, peer, partial(queued, peer, options)) for peer in _own(peers)]


MAIL = "message"
CASES = (
    Case("new", "Accept 4 KiB, a new connection each", MAIL, _compared(1, smtp_source)),
    Case("reused", "Accept 4 KiB, connections reused", MAIL, _compared(1, partial(smtp_source, reuse=True))),
    Case(
        "pipelined",
        "Accept 4 KiB, connections reused, pipelined",
        MAIL,
        _compared(1, partial(own_sender, mode="pipelined")),
    ),
    Case("64k", "Accept 64 KiB, a new connection each", MAIL, _compared(0.25, partial(smtp_source, size=64 * KIB))),
    Case("1m", "Accept 1 MiB, a new connection each", MAIL, _compared(0.04, partial(smtp_source, size=KIB * KIB))),
    Case(
        "relay",
        "Accept 4 KiB over reused connections and relay to smtp-sink",
        MAIL,
        _compared(1, partial(smtp_source, reuse=True), relay=True),
    ),
    Case(
        "relay_new",
        "Accept 4 KiB over a new connection each and relay to smtp-sink",
        MAIL,
        _compared(1, smtp_source, relay=True),
    ),
    Case(
        "flood",
        "Refuse unknown recipients, no tarpit",
        "refused recipient",
        _compared(2, partial(own_sender, mode="flood")),
    ),
    Case("held", "Held sessions", "session", _held_jobs),
    Case("workers", "mailmoat, connections reused: 1 worker against 2", MAIL, _worker_jobs),
    Case("directory", "mailmoat, connections reused: small and large recipient directory", MAIL, _directory_jobs),
    Case(
        "senderid",
        f"mailmoat, pipelined, {sender_id.DOMAINS} sender domains: Sender ID off and on",
        MAIL,
        _sender_id_jobs,
    ),
    Case(
        "dns_lists",
        "mailmoat, one message a connection, each from a new address: lists in the DNS off and on",
        MAIL,
        _dns_lists_jobs,
    ),
    Case("tls", "TLS: handshakes, messages, memory", "connection or message", _tls_jobs),
    Case("queued", "mailmoat, messages of 1 KiB, next hop down: cost as the queue grows", MAIL, _queued_jobs, rounds=1),
    Case("leak", "mailmoat: memory over sessions held and released", "session", _leak_jobs, rounds=1),
)
