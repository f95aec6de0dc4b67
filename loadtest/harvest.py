"""A harvest from a thousand addresses, and good mail beside it: guesses a second without and with a tar pit, with escalation, with blocks.

`python -m loadtest.harvest`. The guessers connect from 127.16.0.0/12, one connection each, and connect again when they are closed; the good
senders from 127.0.0.0/24. Times of the tar pit are a tenth of usual ones (0.5 s, up to 3 s), so that a minute shows ten. From the log: whether one
good message was held or refused. Ends with 1 if so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

import uvloop

from loadtest.processes import end_tidily
from loadtest.servers import DOMAIN, KNOWN, Setup, start_mailmoat

CLOSED = 421
REFUSED = range(500, 600)
GOOD_SENDERS = 5
GOOD_PAUSE = 0.1
EDGE = 5.0
"""Seconds at the beginning and at the end in which guesses are counted."""

ESCALATION = {"MAILMOAT_TARPIT__ESCALATE": "on", "MAILMOAT_TARPIT__ESCALATE_MAX": "3"}
CASES: dict[str, tuple[float, float, dict[str, str]]] = {
    "no tar pit": (0.0, 0.25, {}),
    "tar pit 0.5 s": (0.5, 1.0, {}),
    "escalating to 3 s": (0.5, 1.0, ESCALATION),
    "the same, bad reputation refused": (0.5, 1.0, {**ESCALATION, "MAILMOAT_REPUTATION__ACTION": "reject"}),
}
"""Tar pit, share of the time, settings."""


@dataclass
class Counts:
    """What the clients have seen."""

    answered: list[float] = field(default_factory=list)
    """When each guess was answered by what the directory says: 550 5.1.1."""
    blocked: int = 0
    took: list[float] = field(default_factory=list)
    """Seconds of each good message, from connecting to QUIT."""


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: str) -> str:
    """Send a line, and return the last line of the reply; empty at the end."""
    if line:
        writer.write(line.encode() + b"\r\n")
    reply = b"----"
    while reply[3:4] == b"-":
        reply = await reader.readline()
    return reply.decode()


async def guess(port: int, source: str, number: int, until: float, counts: Counts) -> None:
    """Try one address after the other, in as many sessions as it takes."""
    tried = 0
    while time.monotonic() < until:
        with suppress(OSError, ValueError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
            for line in ("", "EHLO harvester.example", f"MAIL FROM:<h{number}@harvester.example>"):
                await ask(reader, writer, line)
            reply = "-"
            while reply and not reply.startswith("421") and time.monotonic() < until:
                tried += 1
                reply = await ask(reader, writer, f"RCPT TO:<g{number}x{tried}@{DOMAIN}>")
                if reply.startswith("550 5.1.1"):
                    counts.answered.append(time.monotonic())
                elif reply.startswith("550 5.7.1"):
                    counts.blocked += 1
            writer.transport.abort()
        await asyncio.sleep(0.05)


async def deliver(port: int, source: str, until: float, counts: Counts) -> None:
    """Send a message now and then, each in a session of its own."""
    lines = (
        "",
        "EHLO good.example",
        "MAIL FROM:<a@good.example>",
        f"RCPT TO:<{KNOWN}>",
        "DATA",
        "Subject: x\r\n\r\nx\r\n.",
        "QUIT",
    )
    while time.monotonic() < until:
        began = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        for line in lines:
            await ask(reader, writer, line)
        writer.close()
        counts.took.append(time.monotonic() - began)
        await asyncio.sleep(GOOD_PAUSE)


async def attack(port: int, sources: int, seconds: float) -> tuple[Counts, float]:
    """Let them all at the server."""
    counts, began = Counts(), time.monotonic()
    until = began + seconds
    guessers = (
        guess(port, f"127.{16 + number // 250}.{number % 250}.1", number, until, counts) for number in range(sources)
    )
    senders = (deliver(port, f"127.0.0.{20 + number}", until, counts) for number in range(GOOD_SENDERS))
    tasks = [asyncio.ensure_future(one) for one in (*senders, *guessers)]
    await asyncio.sleep(seconds)
    await asyncio.wait(tasks[:GOOD_SENDERS])
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return counts, began


def good_sessions(log: Path) -> tuple[int, int, int]:
    """Return from the log, of good senders: sessions with a message, those held, and those with a refusal."""
    sessions = held = refused = 0
    for line in log.read_text(errors="replace").splitlines():
        with suppress(ValueError):
            event = json.loads(line)
            if event.get("event") == "session-ended" and event["client"].startswith("127.0.0."):
                sessions += event.get("messages", 0) > 0
                held += event.get("holds", 0) > 0
                refused += bool(event.get("refusals"))
    return sessions, held, refused


def events(log: Path, name: str) -> list[dict[str, object]]:
    """Return the lines of an event."""
    lines = (line for line in log.read_text(errors="replace").splitlines() if f'"event":"{name}"' in line)
    return [json.loads(line) for line in lines]


def run_case(name: str, sources: int, seconds: float) -> bool:
    """Run one case and print a line for it; whether no good message was held or refused."""
    tarpit, share, extra = CASES[name]
    with tempfile.TemporaryDirectory(prefix="mailmoat-harvest-") as directory:
        usual = {
            "MAILMOAT_LISTEN_PROXY_NETWORKS": "192.0.2.1",
            "MAILMOAT_LIMITS__ERRORS": "20",
            "MAILMOAT_TARPIT__MAX_SESSION": "180",
        }
        server = start_mailmoat(Path(directory), Setup(tarpit=tarpit, workers=2), {**usual, **extra})
        try:
            counts, began = uvloop.run(attack(server.port, sources, seconds * share))
        finally:
            server.stop()
        sessions, held, refused = good_sessions(server.log)
        harvests = events(server.log, "harvest-began")
        blocked = len(events(server.log, "source-blocked"))
    end = began + seconds * share
    first = sum(began <= when < began + EDGE for when in counts.answered) / EDGE
    last = sum(end - EDGE <= when < end for when in counts.answered) / EDGE
    p50, p99 = (1000 * quantiles(counts.took, n=100)[at] for at in (49, 98))
    print(
        f"{name:34} guesses/s: {first:7.0f} first {EDGE:.0f} s {last:7.0f} last {EDGE:.0f} s | {blocked:4} sources blocked | "
        f"{len(harvests)} harvest-began {[event['scope'] for event in harvests]} | good: {len(counts.took)} sent, "
        f"{sessions} accepted, {held} held, {refused} refused, {p50:.0f} ms p50, {p99:.0f} ms p99",
        flush=True,
    )
    return not held and not refused and sessions == len(counts.took)


def main() -> int:
    """Run the cases of the command line."""
    end_tidily()
    parser = argparse.ArgumentParser(prog="loadtest.harvest", description=__doc__.partition("\n")[0])
    parser.add_argument("--sources", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each case; a quarter of it without a tar pit")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    options = parser.parse_args()
    good = [run_case(name, options.sources, options.seconds) for name in options.cases]
    return 0 if all(good) else 1


if __name__ == "__main__":
    raise SystemExit(main())
