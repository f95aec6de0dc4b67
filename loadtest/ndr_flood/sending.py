"""Sends the flood, and looks at the server meanwhile."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from loadtest.ndr_flood.mails import connections, mails
from loadtest.processes import Trouble, memory_of
from loadtest.servers import health, metric

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtest.ndr_flood.mails import Mail
    from loadtest.ndr_flood.next_hop import NextHop
    from loadtest.processes import Memory
    from loadtest.servers import Running

AT_ONCE = 32
"""Connections."""
CONTENT = (
    b"From: <%s>\r\nSubject: offer\r\nMessage-ID: <%d@flood.example>\r\n\r\n" + (b"x" * 70 + b"\r\n") * 12 + b".\r\n"
)
PROXY = "PROXY TCP4 %s 203.0.113.25 40000 25\r\n"
EMPTY = 600.0
"""Seconds after the last message in which the queue must get empty."""
OVER = 1_500.0
"""Seconds after the last message in which the flood must be over."""


class Seen(NamedTuple):
    """The server at one moment."""

    share: float
    """Of the messages, how many were accepted."""
    seconds: float
    """From the first message."""
    memory: list[Memory]
    """Of each worker."""
    queued: int

    def line(self) -> str:
        """Return it for a person."""
        each = ", ".join(f"{one.rss / 2**20:.1f} ({one.own / 2**20:.1f})" for one in self.memory)
        return f"{self.share:4.0%} accepted after {self.seconds:5.0f} s: {each} MiB RSS (own), {self.queued} queued"


@dataclass
class Run:
    """What was seen of a flood."""

    forged: int
    hop: NextHop
    accepted: int = 0
    """Messages that got 250."""
    seen: list[Seen] = field(default_factory=list)
    flooding: float = 0.0
    """Seconds until the last message was accepted."""
    seconds: float = 0.0
    """Seconds until the queue was empty."""
    during: dict[str, object] = field(default_factory=dict)
    """The health when the queue was empty: an alarm lasts for minutes after its last bounce."""
    flooded: float = 0.0
    """The metric that says so, then."""
    suppressed: float = 0.0
    """Bounces not sent, by the metrics at the end."""


async def flood(server: Running, run: Run) -> None:
    """Send everything, over several connections at a time, and wait until the queue is empty.

    Raises:
        Trouble: a message was not accepted, or the queue does not get empty.

    """
    gate, begun = asyncio.Semaphore(AT_ONCE), time.monotonic()
    total = sum(1 for _ in mails(run.forged))
    workers = await asyncio.to_thread(_workers, server)

    async def one(mail: list[Mail]) -> None:
        try:
            await _session(server.proxied, mail, run)
        finally:
            gate.release()

    async def look() -> None:
        queued = await asyncio.to_thread(server.queued)
        share, seconds = run.accepted / total, time.monotonic() - begun
        run.seen.append(Seen(share, seconds, [memory_of(pid) for pid in workers], queued))
        print(run.seen[-1].line(), flush=True)

    await look()
    async with asyncio.TaskGroup() as tasks:
        for mail in connections(run.forged):
            await gate.acquire()
            tasks.create_task(one(mail))
            if run.accepted / total >= run.seen[-1].share + 0.1:
                await look()
    run.flooding = time.monotonic() - begun
    await look()
    await _until(lambda: not server.queued(), EMPTY, "empty queue")
    run.seconds = time.monotonic() - begun
    await look()
    # Not before: a short flood is accepted before the next hop has refused enough of it.
    run.during = await asyncio.to_thread(health, server.admin)
    run.flooded = await asyncio.to_thread(metric, server.admin, "mailmoat_bounce_flood")
    run.suppressed = await asyncio.to_thread(metric, server.admin, "mailmoat_bounces_suppressed_total")


async def until_over(server: Running) -> None:
    """Wait until the health says nothing of a flood. Raises Trouble when it does not end."""
    await _until(lambda: health(server.admin)["bounces"] != "flood", OVER, "end of the flood")


async def _session(port: int, mail: list[Mail], run: Run) -> None:
    """Send messages of one source over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def ask(octets: bytes, *codes: bytes) -> None:
        writer.write(octets)
        for code in codes:
            line = await reader.readline()
            while line[3:4] == b"-":
                line = await reader.readline()
            if line[:3] != code:
                raise Trouble(f"the server said {line!r} to {octets[:200]!r}")

    try:
        await ask((PROXY % mail[0].source).encode(), b"220")
        await ask(b"EHLO client.sender.example\r\n", b"250")
        for number, each in enumerate(mail):
            envelope = f"MAIL FROM:<{each.sender}>\r\nRCPT TO:<{each.recipient}>\r\nDATA\r\n"
            await ask(envelope.encode(), b"250", b"250", b"354")
            await ask(CONTENT % (each.sender.encode(), number), b"250")
            run.accepted += 1
        await ask(b"QUIT\r\n", b"221")
    finally:
        writer.close()


def _workers(server: Running) -> list[int]:
    """Return the pids of its workers, by its log."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if '"process-started"' in line]
    return [line["pid"] for line in lines if line["process"].startswith("worker")]


async def _until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        if time.monotonic() > deadline:
            raise Trouble(f"no {what} within {seconds:.0f} s")
        await asyncio.sleep(0.5)
