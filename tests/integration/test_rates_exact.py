"""A rate over real connections to four workers: exactly as many are accepted as the burst allows, also when a worker is killed meanwhile.

Five sources of one network give RCPT over many connections at once, each far more often than it may, and the network may have three times as much as
a source. `MAILMOAT_TEST_SOAK=1` does it with 100,000 of them. The rate is so low that the network may have one more only after a minute.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter

import pytest

SOAK = os.environ.get("MAILMOAT_TEST_SOAK") == "1"
EVENTS = 100_000 if SOAK else 10_000
SOURCES, WORKERS = 5, 4
BURST = 500
OF_NETWORK = 3 * BURST
ONE_MORE = 86_400 / OF_NETWORK
"""Seconds."""
BATCH = 10
CONNECTIONS = 20
"""Of each source: so many that each worker has some of them."""


class Half:
    """Half of what the network may have was accepted."""

    def __init__(self) -> None:
        self.accepted = 0
        self.reached = asyncio.Event()

    def count(self, code: bytes) -> None:
        self.accepted += code == b"250"
        if self.accepted >= OF_NETWORK // 2:
            self.reached.set()


class Sender:
    """One connection, which gives its share of the recipients; `unheard` is how many have no reply because it was lost."""

    def __init__(self, source: str, name: str, half: Half) -> None:
        self.source, self.name, self.half = source, name, half
        self.codes: Counter[bytes] = Counter()
        self.given = self.unheard = 0

    async def run(self, port: int, share: int) -> None:
        """Give as many; those left after a lost connection over another one."""
        while self.given < share:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(self.source, 0))
            try:
                await self.talk(reader, writer, share)
            except ConnectionError:
                pass  # its worker was killed
            finally:
                writer.transport.abort()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, share: int) -> None:
        """Greeting, hello, and one transaction after the other."""
        replies = [await self.reply(reader)]
        writer.write(b"HELO sender.test\r\n")
        replies.append(await self.reply(reader))
        assert replies == [b"220", b"250"]
        while self.given < share:
            count = min(BATCH, share - self.given)
            recipients = [f"RCPT TO:<{self.name}-{self.given + number}@all.example.test>" for number in range(count)]
            writer.write("\r\n".join(["MAIL FROM:<>", *recipients, "RSET", ""]).encode())
            self.given += count
            self.unheard += count
            assert await self.reply(reader) == b"250"
            for _ in range(count):
                code = await self.reply(reader)
                self.codes[code] += 1
                self.unheard -= 1
                self.half.count(code)
            assert await self.reply(reader) == b"250"

    async def reply(self, reader: asyncio.StreamReader) -> bytes:
        """The code of the next one."""
        line = await reader.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError
        return line[:3]


async def burst(port: int, kill) -> list[Sender]:
    """Each sender with what it was told; `kill` is called in the middle."""
    half = Half()
    senders = [
        Sender(f"127.0.9.{1 + source}", f"r{source}-{number}", half)
        for source in range(SOURCES)
        for number in range(CONNECTIONS)
    ]
    running = asyncio.gather(*(one.run(port, EVENTS // len(senders)) for one in senders))
    await half.reached.wait()
    kill()
    await running
    return senders


@pytest.mark.timeout(600 if SOAK else 120)
@pytest.mark.parametrize("killed", [0, 1], ids=["all live", "one is killed"])
def test_a_burst_over_four_workers_is_counted_exactly(server, killed):
    mx = server(
        MAILMOAT_WORKERS=str(WORKERS),
        MAILMOAT_LIMITS__RECIPIENT_RATE=f"{BURST}/day",
        MAILMOAT_LIMITS__IDLE_COMMANDS="0",
    )

    def kill():
        for pid in mx.workers()[:killed]:
            os.kill(pid, signal.SIGKILL)

    begun = time.monotonic()
    senders = asyncio.run(burst(mx.port, kill))
    later = int((time.monotonic() - begun) / ONE_MORE)
    told: Counter[bytes] = sum((one.codes for one in senders), Counter())
    unheard = sum(one.unheard for one in senders)
    of_source = Counter({one.source: 0 for one in senders})
    for one in senders:
        of_source[one.source] += one.codes[b"250"]
    assert set(told) == {b"250", b"452"}
    assert told.total() + unheard == EVENTS
    assert OF_NETWORK - unheard <= told[b"250"] <= OF_NETWORK + later
    assert max(of_source.values()) <= BURST + later
    assert bool(unheard) == bool(killed)
    assert len({line["session"].partition("-")[0] for line in mx.logged("recipient-refused")}) >= WORKERS
    mx.until(lambda: len(mx.workers()) == WORKERS, what="all workers")
