"""The queue by destination at one moment: what the partitions have, and what the workers of a running server say about their next hops.

A worker that does not answer is left out: what waits is counted without it. OSError when the spool cannot be read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mailmoat import clock
from mailmoat._native import queue_stats
from mailmoat.control import client
from mailmoat.control.channel import ControlError

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat._native import QueueStats


@dataclass(slots=True)
class Destination:
    """One next hop, as all workers see it."""

    recipients: int = 0
    """Not at their end."""
    deferred: int = 0
    oldest: int | None = None
    """When the first of their messages came, milliseconds since the epoch."""
    active: int = 0
    """Messages that are being delivered."""
    connections: int = 0
    """To its servers, those that are being opened among them."""
    workers: int = 0
    """Those that have it open."""
    away: int = 0
    """Those of them that could not reach it when they last tried."""

    @property
    def state(self) -> str:
        """Whether it answers."""
        if not self.workers:
            return "idle"
        if not self.away:
            return "up"
        return "down" if self.away == self.workers else "partly down"


@dataclass(slots=True)
class Overview:
    """The queue at one moment."""

    at: float
    """Seconds of the monotonic clock."""
    stats: QueueStats
    destinations: dict[str, Destination] = field(default_factory=dict)
    workers: int = 0
    """Those that have answered."""


def overview(spool_dir: Path) -> Overview:
    """Return what is so now."""
    stats = queue_stats(str(spool_dir))
    now = Overview(clock.monotonic(), stats)
    for name, tally in stats.next_hops.items():
        now.destinations[name] = Destination(tally.recipients, tally.deferred, tally.oldest)
    now.workers = add_open(spool_dir, now.destinations)
    return now


def add_open(spool_dir: Path, destinations: dict[str, Destination]) -> int:
    """Add what the workers have open to destinations, by name; return how many workers have answered."""
    asked: set[int] = set()
    for tag in _partitions(spool_dir):
        try:
            answer = client.ask_owner(spool_dir, tag, "queue.destinations")
        except ControlError:
            continue
        if answer is None or answer["pid"] in asked:  # one worker has the sockets of all partitions it owns
            continue
        asked.add(answer["pid"])
        for one in answer["destinations"]:
            destination = destinations.setdefault(one["name"], Destination())
            destination.active += one["active"]
            destination.connections += one.get("connections", 0)  # a server from before an upgrade does not say it
            destination.workers += 1
            destination.away += bool(one["away"])
    return len(asked)


def _partitions(spool_dir: Path) -> list[str]:
    try:
        return sorted(path.name for path in (spool_dir / "partitions").iterdir())
    except FileNotFoundError:
        return []
