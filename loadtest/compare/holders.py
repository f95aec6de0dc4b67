"""The client that is held: many sessions that each ask for an unknown recipient, and measure how late its refusal comes.

`python -m loadtest.compare.holders --port 2525 --sessions 9000 --hold 20 --ramp 8 --cycles 2 --source 127.0.1.1 --out FILE`
Sessions begin evenly over the ramp. A refusal is late by the time from before RCPT is written to its arrival here, less the hold:
what the network and this client take is in it. Prints `asked` when all have asked for the first time, and leaves JSON:
lateness in milliseconds, a list for each cycle, and the number of sessions that broke.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import resource
import time
from pathlib import Path
from typing import cast

import uvloop

from loadtest.compare.sender import HELLO, MAIL, Replies
from loadtest.servers import DOMAIN

OPENING = 3
"""Replies before the first recipient: greeting, EHLO, MAIL."""


class Holders:
    """All sessions of this process."""

    def __init__(self, sessions: int, hold: float, cycles: int, unheld: int) -> None:
        self.left = sessions
        self.unasked = sessions
        self.hold = hold
        self.cycles = cycles
        self.opening = OPENING + unheld
        self.broken = 0
        self.lateness: list[list[float]] = [[] for _ in range(cycles)]
        self.done = asyncio.get_running_loop().create_future()

    def asked(self) -> None:
        """Count a session that has sent its first command."""
        self.unasked -= 1
        if self.unasked == 0:
            print("asked", flush=True)

    def ended(self) -> None:
        """Count a session that has ended."""
        self.left -= 1
        if self.left == 0 and not self.done.done():
            self.done.set_result(None)


class Held(asyncio.Protocol):
    """A session."""

    def __init__(self, holders: Holders) -> None:
        self.holders = holders
        self.replies = Replies()
        self.answered = 0
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the greeting."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Send one command for each reply."""
        now = time.monotonic()
        for code in self.replies.feed(data):
            self.answered += 1
            cycle = self.answered - self.holders.opening - 1
            if cycle < 0:
                self.open(code)
                continue
            self.holders.lateness[cycle].append((now - self.sent - self.holders.hold) * 1000)
            if cycle + 1 < self.holders.cycles:
                self.ask(self.answered)
            else:
                self.transport.close()

    def open(self, code: bytes) -> None:
        """Greet, name a sender, and ask as often as costs nothing; then ask to be held."""
        if code != (b"220", b"250", b"250", b"550")[min(self.answered, 4) - 1]:
            self.transport.abort()
        elif self.answered < OPENING:
            self.transport.write((HELLO, MAIL)[self.answered - 1])
        else:
            self.ask(self.answered)
            if self.answered == self.holders.opening:
                self.holders.asked()

    def ask(self, number: int) -> None:
        """Ask for a recipient that is not there."""
        self.sent = time.monotonic()
        self.transport.write(b"RCPT TO:<guess%d-%d@%s>\r\n" % (id(self), number, DOMAIN.encode()))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Count the session as ended or broken."""
        if self.answered < self.holders.opening:
            self.holders.asked()
        if self.answered < self.holders.opening + self.holders.cycles:
            self.holders.broken += 1
        self.holders.ended()


async def run(options: argparse.Namespace) -> Holders:
    """Hold and be held."""
    holders = Holders(options.sessions, options.hold, options.cycles, options.unheld)
    loop = asyncio.get_running_loop()

    async def connect() -> None:
        try:
            await loop.create_connection(
                lambda: Held(holders), "127.0.0.1", options.port, local_addr=(options.source, 0)
            )
        except OSError:
            holders.broken += 1
            holders.asked()
            holders.ended()

    begun = time.monotonic()
    tasks = []
    for number in range(options.sessions):
        await asyncio.sleep(begun + number * options.ramp / options.sessions - time.monotonic())
        tasks.append(loop.create_task(connect()))
    await asyncio.wait_for(holders.done, options.cycles * options.hold + options.ramp + 120)
    return holders


def main() -> None:
    """Run with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--sessions", type=int, required=True)
    parser.add_argument("--hold", type=float, required=True)
    parser.add_argument("--ramp", type=float, required=True)
    parser.add_argument("--cycles", type=int, default=2)
    parser.add_argument("--unheld", type=int, default=0, help="refusals that are not held, before those that are")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--source", default="127.0.0.1")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.disable()  # a collection here would be told as the server's lateness
    holders = uvloop.run(run(options))
    options.out.write_text(json.dumps({"lateness": holders.lateness, "broken": holders.broken}))


if __name__ == "__main__":
    main()
