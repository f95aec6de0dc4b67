"""What guesses of passwords cost others: `python -m loadtest.guesses`, good mail alone and beside guesses, in turns.

A client of one address (127.0.0.2) makes `--rate` connections a second, each with a TLS handshake of its own and one wrong password, to a
public listener with STARTTLS, to `submission://` and to `submissions://`. Good mail comes from 127.0.0.1 at a steady rate, each message in a
new connection in clear. The number is the ratio of the 99th percentiles of the time of a good message, from connect to 250, over the
messages of all rounds; in every other round good mail alone comes second. Beside it stands where the ratio lies when rounds are drawn
anew, 9 times of 10, and the same ratio of one half of the rounds alone to the other: what the machine itself makes of it. The guesser
runs at the lowest priority, so that its own CPU time is not what is measured; it begins a while before, as guessers have used up
`limits.auth_failure_rate` for nearly all of their time. `--realtime`, for root on a busy machine: server and good mail come before
everything else on it.
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
from dataclasses import dataclass, field
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

GOOD_RATE = 50
GUESSER = "127.0.0.2"
PATIENCE = 1.0
"""Seconds a guesser waits for an answer."""
BEFORE = 3.0
"""Seconds of guesses before they are measured."""
DRAWS = 1000
"""How often rounds are drawn anew."""
WRONG = base64.b64encode(b"\0alice\0wrong").decode()
LISTENERS = ("smtp", "submission", "submissions")
CONTENT = b"Subject: x\r\n\r\n" + b"x" * 72 + b"\r\n.\r\n"


async def at_rate(rate: float, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Begin `work` so many times a second, whether it keeps up or not."""
    begun, running = time.monotonic(), set()
    for number in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
        task = asyncio.ensure_future(work())
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)


async def deliver(port: int, times: list[float]) -> None:
    """Send a message and note its time in seconds."""
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
    times.append(time.perf_counter() - begun)
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
    if arguments.client == "good":
        times: list[float] = []
        asyncio.run(at_rate(arguments.rate, arguments.seconds, lambda: deliver(arguments.port, times)))
        print(json.dumps(times))
        return
    ended: Counter[str] = Counter()
    asyncio.run(at_rate(arguments.rate, arguments.seconds, lambda: guess(arguments.port, arguments.client, ended)))
    print(json.dumps(ended))


@contextmanager
def started(kind: str, port: int, rate: float, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Run one of the clients below this process, and end it with the block."""
    command = [sys.executable, "-m", "loadtest.guesses", "--client", kind, "--port", str(port)]
    command += ["--rate", str(rate), "--seconds", str(seconds)]
    lowest = [] if kind == "good" else ["chrt", "--other", "0", "nice", "-n", "19"]
    process = subprocess.Popen([*lowest, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


def good_mail(port: int, seconds: float) -> list[float]:
    """Return the times of good messages."""
    with started("good", port, GOOD_RATE, seconds) as process:
        times: list[float] = json.loads(process.communicate()[0])
        return times


def beside(port: int, target: int, listener: str, rate: float, seconds: float) -> tuple[list[float], Counter[str]]:
    """Return the times of good messages beside guesses, and how the guesses ended."""
    with started(listener, target, rate, seconds + BEFORE + 2) as process:
        time.sleep(BEFORE)
        times = good_mail(port, seconds)
        return times, Counter(json.loads(process.communicate()[0]))


def p99(times: list[float]) -> float:
    """Return the 99th percentile in milliseconds."""
    return statistics.quantiles(times, n=100)[98] * 1000


@dataclass
class Rounds:
    """What was measured of one listener: the times of good messages by round, CPU seconds of the server, and how the guesses ended."""

    alone: list[list[float]] = field(default_factory=list)
    beside: list[list[float]] = field(default_factory=list)
    cpu_alone: float = 0.0
    cpu_beside: float = 0.0
    ended: Counter[str] = field(default_factory=Counter)

    def ratio(self, rounds: Sequence[int]) -> float:
        """Return the ratio of the percentiles of these rounds."""
        return p99(pooled(self.beside, rounds)) / p99(pooled(self.alone, rounds))

    def line(self) -> str:
        """Return it as text."""
        everything = range(len(self.alone))
        drawn = sorted(self.ratio(random.choices(everything, k=len(everything))) for _ in range(DRAWS))
        halves = sorted(self._halved() for _ in range(DRAWS))
        low, high = DRAWS // 20, -DRAWS // 20
        alone, beside = pooled(self.alone, everything), pooled(self.beside, everything)
        return (
            f"p99 {p99(alone):.1f} ms alone, {p99(beside):.1f} ms beside guesses, ratio {self.ratio(everything):.2f} "
            f"({drawn[low]:.2f}-{drawn[high]:.2f}), of halves alone {halves[low]:.2f}-{halves[high]:.2f}; median of the rounds "
            f"{statistics.median(self.ratio([each]) for each in everything):.2f}; medians of times {statistics.median(alone) * 1000:.2f} "
            f"and {statistics.median(beside) * 1000:.2f} ms; "
            f"{(self.cpu_beside - self.cpu_alone) / self.ended.total() * 1e6:.0f} us of CPU a guess; guesses ended with {dict(self.ended)}"
        )

    def _halved(self) -> float:
        """Return the ratio of a half of the rounds alone to the other half."""
        drawn = random.sample(range(len(self.alone)), len(self.alone))
        half = len(drawn) // 2
        return p99(pooled(self.alone, drawn[:half])) / p99(pooled(self.alone, drawn[half:]))


def pooled(rounds: list[list[float]], chosen: Sequence[int]) -> list[float]:
    """Return the times of these rounds in one list."""
    return [each for number in chosen for each in rounds[number]]


def compared(running: Running, target: int, listener: str, arguments: argparse.Namespace) -> str:
    """Measure good mail alone and beside guesses at `target`, in turns."""
    seen = Rounds()

    def alone() -> None:
        begun = running.tree.cpu()
        seen.alone.append(good_mail(running.port, arguments.seconds))
        seen.cpu_alone += running.tree.cpu() - begun

    def guessed_at() -> None:
        begun = running.tree.cpu()
        times, how = beside(running.port, target, listener, arguments.rate, arguments.seconds)
        seen.beside.append(times)
        seen.ended += how
        seen.cpu_beside += running.tree.cpu() - begun

    for number in range(arguments.rounds):
        for work in (guessed_at, alone) if number % 2 else (alone, guessed_at):
            work()
    return seen.line()


def measure(arguments: argparse.Namespace, directory: Path) -> None:
    """Measure each listener, with and without guesses in turns, and print a line for each."""
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
        good_mail(ports["smtp"], 2)
        for listener in arguments.listeners:
            print(f"{listener}: {compared(running, ports[listener], listener, arguments)}", flush=True)
    finally:
        running.stop()


def main() -> None:
    """Measure, or be a client of the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100, help="guesses a second")
    parser.add_argument("--seconds", type=float, default=5, help="length of a round")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--listeners", nargs="+", choices=LISTENERS, default=LISTENERS)
    parser.add_argument("--realtime", action="store_true", help="run server and good mail before all else")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
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
