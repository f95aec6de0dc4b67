"""What guesses of passwords cost others: `python -m loadtest.guesses`, good mail alone and beside guesses, in turns.

A client of one address (127.0.0.2) makes `--rate` connections a second, each with a TLS handshake of its own and one wrong password, to a
public listener with STARTTLS, to `submission://` and to `submissions://`. Good mail comes from 127.0.0.1 at a steady rate all the time, each
message in a new connection in clear. Guesses come in every other slice of time, in the order without, with, with, without, so that
what changes slowly changes both alike. The number is the ratio of the 99th percentiles of the time of a good message, from connect to 250,
over all slices; with it come where the ratio lies when blocks of four slices are drawn anew, 9 times of 10, the median of the ratios of
the blocks, and the ratio of one half of the slices without guesses to the other: what the machine itself makes of it. The verdict is
`undecided` when that interval has `BOUND` in it: take more `--blocks` then.

The guesser runs at the lowest priority, so that its own CPU time is not what is measured; it begins a while before, as guessers have used up
`limits.auth_failure_rate` for nearly all of their time. `--realtime`, for root on a busy machine: server and good mail come before
everything else on it. With `TMPDIR=/dev/shm` the spool is in memory: most of what varies from slice to slice is the disk.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loadtest.compare.tls import certificate
from loadtest.compare.tls_sender import context
from loadtest.processes import ROOT, end_tidily, free_port
from loadtest.servers import KNOWN, Setup, start_mailmoat
from mailmoat.auth.accounts import Account
from mailmoat.auth.verifiers import Argon2Hash

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from loadtest.servers import Running

GOOD_RATE = 200
BOUND = 1.10
GUESSER = "127.0.0.2"
PATIENCE = 1.0
"""Seconds a guesser waits for an answer."""
BEFORE = 4.0
"""Seconds of guesses before they are measured."""
SLICE = 1.5
GRACE = 0.25
"""Seconds at the beginning of a slice that are not measured: what the one before has left is still there."""
BLOCK = (False, True, True, False)
"""Whether there are guesses in the slices of a block."""
DRAWS = 1000
"""How often rounds are drawn anew."""
WRONG = base64.b64encode(b"\0alice\0wrong").decode()
LISTENERS = ("smtp", "submission", "submissions")
CONTENT = b"Subject: x\r\n\r\n" + b"x" * 72 + b"\r\n.\r\n"


async def at_rate(rate: float, begin: float, seconds: float, work: Callable[[float], Awaitable[None] | None]) -> None:
    """Begin `work(when)` so many times a second from `begin` on, whether it keeps up or not; `when` counts from `begin`."""
    running = set()
    for number in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
        if (begun := work(number / rate)) is not None:
            task = asyncio.ensure_future(begun)
            running.add(task)
            task.add_done_callback(running.discard)
    await asyncio.gather(*running)


def is_guessed(when: float) -> bool:
    """Return whether there are guesses at this time, in seconds since the first block began."""
    return when < 0 or BLOCK[int(when / SLICE) % len(BLOCK)]


async def deliver(port: int, when: float, times: list[tuple[float, float]]) -> None:
    """Send a message and note when it was, and its time in seconds."""
    begun = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.1", 0))
    for said in (
        b"",
        b"HELO c.test\r\n",
        b"MAIL FROM:<a@c.test>\r\n",
        f"RCPT TO:<{KNOWN}>\r\n".encode(),
        b"DATA\r\n",
        CONTENT,
    ):
        writer.write(said)
        reply = await reader.readline()
        if reply[:1] not in b"23":
            raise RuntimeError(f"{said!r}: {reply!r}")
    times.append((when, time.perf_counter() - begun))
    writer.close()


async def guess(port: int, listener: str, ended: Counter[str]) -> None:
    """Try a wrong password and go."""
    last = "nothing"
    writer = None
    try:
        async with asyncio.timeout(PATIENCE):
            tls = context() if listener == "submissions" else None
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, local_addr=(GUESSER, 0))
            said = ["", "EHLO c.test", *(() if tls else ("STARTTLS", "EHLO c.test")), f"AUTH PLAIN {WRONG}"]
            for line in said:
                if line:
                    writer.write(f"{line}\r\n".encode())
                last = await reply(reader)
                if last[:1] not in "23":
                    break
                if line == "STARTTLS":
                    await writer.start_tls(context())
    except (OSError, TimeoutError):
        last = f"{last} and the end"
    ended[last] += 1
    if writer is not None:
        writer.transport.abort()


async def reply(reader: asyncio.StreamReader) -> str:
    """Return the code of a reply."""
    while line := await reader.readline():
        if line[3:4] != b"-":
            return line[:3].decode()
    return "closed"


def client(arguments: argparse.Namespace) -> None:
    """Be one of the two clients, and print what it saw."""
    port, rate, begin, seconds = arguments.port, arguments.rate, arguments.begin, arguments.seconds
    if arguments.client == "good":
        times: list[tuple[float, float]] = []
        asyncio.run(at_rate(rate, begin, seconds, lambda when: deliver(port, when, times)))
        print(json.dumps(times))
        return
    ended: Counter[str] = Counter()
    listener = arguments.client
    guesses = at_rate(
        rate,
        begin - BEFORE,
        BEFORE + seconds,
        lambda when: guess(port, listener, ended) if is_guessed(when - BEFORE) else None,
    )
    asyncio.run(guesses)
    print(json.dumps(ended))


@contextmanager
def started(kind: str, port: int, rate: float, begin: float, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Run one of the clients below this process, and end it with the block."""
    command = [sys.executable, "-m", "loadtest.guesses", "--client", kind, "--port", str(port)]
    command += ["--rate", str(rate), "--begin", str(begin), "--seconds", str(seconds)]
    lowest = [] if kind == "good" else ["chrt", "--other", "0", "nice", "-n", "19"]
    process = subprocess.Popen([*lowest, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


def p99(times: list[float]) -> float:
    """Return the 99th percentile in milliseconds."""
    return statistics.quantiles(times, n=100)[98] * 1000


@dataclass
class Seen:
    """What was measured of one listener: times of good messages by block, without and with guesses; CPU seconds of the server."""

    alone: list[list[float]]
    beside: list[list[float]]
    cpu: dict[bool, float]
    ended: Counter[str]

    @classmethod
    def of(cls, blocks: int, times: list[tuple[float, float]], cpu: dict[bool, float], ended: Counter[str]) -> Seen:
        """Sort good messages into the blocks."""
        seen = cls([[] for _ in range(blocks)], [[] for _ in range(blocks)], cpu, ended)
        for when, took in times:
            block = int(when / SLICE / len(BLOCK))
            if when % SLICE >= GRACE and block < blocks:
                (seen.beside if is_guessed(when) else seen.alone)[block].append(took)
        return seen

    def ratio(self, blocks: Sequence[int]) -> float:
        """Return the ratio of the percentiles of these blocks."""
        return p99(pooled(self.beside, blocks)) / p99(pooled(self.alone, blocks))

    def line(self) -> str:
        """Return it as text."""
        everything = range(len(self.alone))
        drawn = sorted(self.ratio(random.choices(everything, k=len(everything))) for _ in range(DRAWS))
        halves = sorted(self._halved() for _ in range(DRAWS))
        low, high = DRAWS // 20, -DRAWS // 20
        verdict = "yes" if drawn[high] < BOUND else "no" if drawn[low] >= BOUND else "undecided"
        alone, beside = pooled(self.alone, everything), pooled(self.beside, everything)
        return (
            f"below {BOUND:.2f}: {verdict}; p99 {p99(alone):.2f} ms alone, {p99(beside):.2f} ms beside guesses, "
            f"ratio {self.ratio(everything):.2f} ({drawn[low]:.2f}-{drawn[high]:.2f}), "
            f"of halves alone {halves[low]:.2f}-{halves[high]:.2f}; median of {len(everything)} blocks "
            f"{statistics.median(self.ratio([each]) for each in everything):.2f}; medians of times "
            f"{statistics.median(alone) * 1000:.2f} and {statistics.median(beside) * 1000:.2f} ms; "
            f"{(self.cpu[True] - self.cpu[False]) / self.ended.total() * 1e6:.0f} us of CPU a guess; "
            f"{len(alone)} and {len(beside)} messages; guesses ended with {dict(self.ended)}"
        )

    def _halved(self) -> float:
        """Return the ratio of a half of the blocks without guesses to the other half."""
        drawn = random.sample(range(len(self.alone)), len(self.alone))
        half = len(drawn) // 2
        return p99(pooled(self.alone, drawn[:half])) / p99(pooled(self.alone, drawn[half:]))


def pooled(blocks: list[list[float]], chosen: Sequence[int]) -> list[float]:
    """Return the times of these blocks in one list."""
    return [each for number in chosen for each in blocks[number]]


def compared(running: Running, target: int, listener: str, arguments: argparse.Namespace) -> str:
    """Measure good mail without and with guesses at `target`, in turns."""
    slices = arguments.blocks * len(BLOCK)
    begin, seconds = time.monotonic() + BEFORE + 2, slices * SLICE
    cpu = {False: 0.0, True: 0.0}
    with (
        started(listener, target, arguments.rate, begin, seconds) as guesser,
        started("good", running.port, GOOD_RATE, begin, seconds) as good,
    ):
        for number in range(slices):
            time.sleep(max(0.0, begin + number * SLICE - time.monotonic()))
            before = running.tree.cpu()
            time.sleep(max(0.0, begin + (number + 1) * SLICE - time.monotonic()))
            cpu[is_guessed((number + 0.5) * SLICE)] += running.tree.cpu() - before
        times, ended = json.loads(good.communicate()[0]), json.loads(guesser.communicate()[0])
    return Seen.of(arguments.blocks, times, cpu, Counter(ended)).line()


def measure(arguments: argparse.Namespace, directory: Path) -> None:
    """Measure each listener, and print a line for each."""
    made = certificate("P-256")
    accounts = directory / "accounts"
    accounts.touch(0o600)
    accounts.write_text(f"{Account('alice', Argon2Hash.make(b'the right password')).line()}\n")
    ports = {listener: free_port() for listener in LISTENERS[1:]}
    listen = tuple(f"{kind}://127.0.0.1:{port}" for kind, port in ports.items())
    settings = {
        "MAILMOAT_AUTH__FILE": str(accounts),
        "MAILMOAT_DELIVERY__NEXT_HOP": "discard:",
        "MAILMOAT_LIMITS__CONNECTIONS_PER_SOURCE": "100",
    }
    running = start_mailmoat(directory, Setup(workers=arguments.workers, certificate=made, listen=listen), settings)
    ports["smtp"] = running.port
    try:
        for listener in arguments.listeners:
            print(f"{listener}: {compared(running, ports[listener], listener, arguments)}", flush=True)
    finally:
        running.stop()


def main() -> None:
    """Measure, or be a client of the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100, help="guesses a second")
    parser.add_argument("--blocks", type=int, default=40, help=f"of {len(BLOCK) * SLICE:.0f} s each")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--listeners", nargs="+", choices=LISTENERS, default=LISTENERS)
    parser.add_argument("--realtime", action="store_true", help="run server and good mail before all else")
    for hidden, kind in (("--client", str), ("--port", int), ("--begin", float), ("--seconds", float)):
        parser.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        client(arguments)
        return
    end_tidily()
    if arguments.realtime:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    with tempfile.TemporaryDirectory() as directory:
        measure(arguments, Path(directory))


if __name__ == "__main__":
    main()
