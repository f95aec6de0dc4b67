"""Hostile clients of many kinds at once: `python -m loadtest.hostile --port 2525 --connections 2000 --seconds 20`.

Each connection belongs to one kind and comes again a moment after it was closed, so that there are always as many as were asked for.
They come from many addresses of 127.0.0.0/8, and go to 127.0.0.1 only. At its end it prints one line of JSON: by kind how many
connections were made, how many the server closed, and what it said last. `open` is printed once all have been opened.

It takes only the processor time that others leave: hostile clients have computers of their own, and what they compute is no load of the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import struct
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, cast

import uvloop

from loadtest.servers import DOMAIN

EHLO: Final = b"EHLO hostile.test\r\n"
MAIL: Final = EHLO + b"MAIL FROM:<s@hostile.test>\r\n"
DATA: Final = MAIL + f"RCPT TO:<postmaster@{DOMAIN}>\r\nDATA\r\n".encode()
PER_SOURCE: Final = 50
AT_ONCE: Final = 200
"""Connections opened at the same time: more would overflow the queue of the listening socket."""
LEAST: Final = 19
"""As nice as a process can be."""
RESET: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Kind:
    """What one kind of client does."""

    name: str
    opening: bytes = b""
    """Sent at once, without waiting for the greeting."""
    again: bytes = b""
    """Sent after each piece of replies."""
    drip: bytes = b""
    """Sent every `every` seconds, an octet at a time, again and again."""
    every: float = 1.0
    deaf: bool = False
    """It reads nothing."""
    half_closed: bool = False
    """It closes its sending side after the opening."""
    resets: bool = False
    """It resets the connection after the opening."""


KINDS: Final = (
    Kind("mute"),
    Kind("early talker", EHLO + b"QUIT\r\n"),
    Kind("HTTP", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nEHLO x\r\n"),
    Kind("TLS", bytes.fromhex("16030100c8010000c40303") + bytes(190)),
    Kind("NOOP", again=b"NOOP\r\n"),
    Kind("RSET", EHLO, again=b"RSET\r\n"),
    Kind("EHLO", again=EHLO),
    Kind("MAIL and RSET", EHLO, again=b"MAIL FROM:<s@hostile.test>\r\nRSET\r\n"),
    Kind("huge EHLO", b"EHLO " + b"x" * 60_000 + b"\r\n", again=b"EHLO " + b"x" * 60_000 + b"\r\n"),
    Kind("slow command", drip=b"NOOP\r\n"),
    Kind("slow content", DATA, drip=b"x"),
    Kind("slow reader", EHLO * 90, deaf=True),
    Kind("half-closed", MAIL, half_closed=True),
    Kind("reset", EHLO, resets=True),
    Kind("tiny segments", drip=b"MAIL FROM:<s@hostile.test>\r\nRSET\r\n", every=0.1),
    Kind("guesses", MAIL, again=f"RCPT TO:<no-such-address@{DOMAIN}>\r\n".encode()),
)


@dataclass(slots=True)
class Count:
    """What became of the connections of one kind."""

    made: int = 0
    closed: int = 0
    last: Counter[str] = field(default_factory=Counter)


class Attacker(asyncio.Protocol):
    """One connection."""

    __slots__ = ("count", "dripped", "kind", "last", "over", "transport")

    def __init__(self, kind: Kind, count: Count) -> None:
        self.kind, self.count = kind, count
        self.transport: asyncio.Transport | None = None
        self.dripped, self.last = 0, b""
        self.over = asyncio.get_running_loop().create_future()

    def itself(self) -> Attacker:
        """Return this: the factory of its connection."""
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)
        self.count.made += 1
        if self.kind.deaf:
            self.transport.pause_reading()
        if self.kind.opening:
            self.transport.write(self.kind.opening)
        if self.kind.half_closed:
            self.transport.write_eof()
        if self.kind.resets:
            connected = self.transport.get_extra_info("socket")
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Go on."""
        self.last = data[-200:]
        if self.kind.again and self.transport is not None and not self.transport.is_closing():
            self.transport.write(self.kind.again)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Count it."""
        self.transport = None
        self.count.closed += 1
        self.count.last[self.last.rpartition(b"\r\n")[0].rpartition(b"\n")[2][:60].decode("ascii", "replace")] += 1
        if not self.over.done():
            self.over.set_result(None)

    def drip(self) -> None:
        """Send the next octet."""
        if self.transport is not None and not self.transport.is_closing():
            at = self.dripped % len(self.kind.drip)
            self.dripped += 1
            self.transport.write(self.kind.drip[at : at + 1])


class Crowd:
    """All connections of this process."""

    def __init__(self, port: int, kinds: list[Kind], connections: int, first: int, pause: float) -> None:
        self.port, self.connections, self.first, self.pause = port, connections, first, pause
        self.kinds = kinds
        self.counts = {kind.name: Count() for kind in kinds}
        self.door = asyncio.Semaphore(AT_ONCE)
        self.unopened = connections
        self.open = asyncio.Event()
        self.failed: Counter[str] = Counter()

    async def run(self, seconds: float) -> None:
        """Open all, then keep them for so long, or until SIGTERM."""
        over = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
        tasks = [asyncio.create_task(self.keep(number)) for number in range(self.connections)]
        await self.open.wait()
        print("open", flush=True)
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def keep(self, number: int) -> None:
        """Keep one connection open, or come again."""
        loop = asyncio.get_running_loop()
        kind = self.kinds[number % len(self.kinds)]
        source = self.first + number // PER_SOURCE
        address = (f"127.{1 + source // 250}.{source % 250}.1", 0)
        first = True
        while True:
            attacker = Attacker(kind, self.counts[kind.name])
            try:
                async with self.door:
                    await loop.create_connection(attacker.itself, "127.0.0.1", self.port, local_addr=address)
            except OSError as error:
                self.failed[error.strerror or "failed"] += 1
            else:
                self.unopened -= first
                first = False
                if not self.unopened:
                    self.open.set()
                try:
                    await self.live(attacker)
                finally:
                    if attacker.transport is not None:
                        attacker.transport.abort()
            await asyncio.sleep(random.uniform(0.5, 1.5) * self.pause)

    async def live(self, attacker: Attacker) -> None:
        """Wait until the server or the attacker closes it."""
        while not attacker.over.done():
            if not attacker.kind.drip:
                await attacker.over
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(attacker.over), attacker.kind.every)
            attacker.drip()


def main() -> None:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(prog="loadtest.hostile", description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10.0, help="after all are open")
    parser.add_argument("--first", type=int, default=0, help="number of the first source address")
    parser.add_argument(
        "--pause", type=float, default=2.0, help="seconds, on average, until one that was closed comes again"
    )
    parser.add_argument("--kind", action="append", help="one of: " + ", ".join(kind.name for kind in KINDS))
    options = parser.parse_args()
    os.nice(LEAST)
    kinds = [kind for kind in KINDS if not options.kind or kind.name in options.kind]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        crowd = runner.run(_run(options, kinds))
    found = {
        name: {"made": count.made, "closed": count.closed, "last": count.last.most_common(3)}
        for name, count in crowd.counts.items()
    }
    print(json.dumps({"kinds": found, "failed": dict(crowd.failed)}), flush=True)


async def _run(options: argparse.Namespace, kinds: list[Kind]) -> Crowd:
    crowd = Crowd(options.port, kinds, options.connections, options.first, options.pause)
    await crowd.run(options.seconds)
    return crowd


if __name__ == "__main__":
    main()
