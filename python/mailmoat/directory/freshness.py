"""How fresh is what is known of each synchronised source: one small file, written by the directory process, read by workers and commands.

It is replaced whole, so a reader finds the old one or the new one. It says what was, with times; whether that is too old says the
reader, by its settings, so that it becomes too old by itself when nobody writes any more. Reading never fails: without the file nothing is known.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from mailmoat import files

if TYPE_CHECKING:
    from pathlib import Path


class SyncState(StrEnum):
    """How the last read of a source ended."""

    NEW = "new"
    """It has not ended yet."""
    CURRENT = "current"
    """It is in force."""
    FAILED = "failed"
    """The source cannot be read; what was read before is in force."""
    SHRUNK = "shrunk"
    """It had too few entries; what was read before is in force."""


class SourceAnswer(StrEnum):
    """What became of a lookup in a live source."""

    EXISTS = "exists"
    ABSENT = "absent"
    UNKNOWN = "unknown"
    """It does not say, as a next hop that accepts every address."""
    CACHED = "cached"
    """An answer of before was used."""
    STALE = "stale"
    """An old answer was used, as the source does not answer."""
    ERROR = "error"
    """It answered with an error."""
    FAILED = "failed"
    """It did not answer."""
    REFUSED = "refused"
    """It was not asked, as it did not answer before."""
    NO_ROOM = "no-room"
    """It was not asked in time, as other lookups took all the room there is."""


class LiveState(msgspec.Struct):
    """What is known of a live source."""

    name: str
    error: str = ""
    """Why servers of it did not answer when they were last asked; empty when all did."""
    answered_ms: int = 0
    """When it answered last; 0 = not since the directory process was started."""
    counts: dict[SourceAnswer, int] = {}
    """Lookups by what became of them."""
    answer_seconds: float = 0.0
    """Time that the answers exists and absent took."""
    remarks: tuple[str, ...] = ()
    """What an administrator should know of its answers, a sentence each."""
    inconclusive: int = 0
    """Domains whose next hop says nothing by its answers."""


class SourceFreshness(msgspec.Struct):
    """One source."""

    name: str
    state: SyncState = SyncState.NEW
    reason: str = ""
    """Why it is not current, in a sentence."""
    since_ms: int = 0
    """When the state began, milliseconds since the epoch."""
    synced_ms: int = 0
    """When the source said last that this is how it is; 0 = never read whole."""
    changed_ms: int = 0
    """When recipients changed last."""
    table: str = ""
    """Identity and generation of the table, as the snapshot has them of the table it was made from."""
    entries: int = 0
    server: str = ""
    """The one that is read."""
    passed_over: tuple[str, ...] = ()
    """Why each server that is preferred to it is not read, a sentence each."""
    left_out: int = 0
    """Entries, addresses and targets that do not count, in the last read."""
    left_out_examples: tuple[str, ...] = ()
    """A sentence about some of them."""
    kept: int = 0
    """Entries that are in force though the server that is read lacks them, or addresses of them."""
    kept_why: str = ""
    """Why, in a sentence."""
    read_seconds: float = 0.0
    """Time that the last full read took; 0 = none since the directory process was started."""
    failures: int = 0
    """Reads that failed since then."""

    def age(self, now_ms: int) -> float:
        """Return the seconds since `synced_ms`; infinity when it was never read whole."""
        return max(0, now_ms - self.synced_ms) / 1000 if self.synced_ms else float("inf")


class Freshness(msgspec.Struct):
    """All sources."""

    sources: tuple[SourceFreshness, ...] = ()
    """Those that are synchronised."""
    live: tuple[LiveState, ...] = ()

    def of(self, name: str) -> SourceFreshness:
        """Return that of a source; nothing is known of one that is not there."""
        return next((source for source in self.sources if source.name == name), SourceFreshness(name))


def write(path: Path, freshness: Freshness) -> None:
    """Replace the file. OSError when the disk does not take it."""
    files.replace(path, msgspec.json.encode(freshness))


def read(path: Path) -> Freshness:
    """Return what the file says."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Freshness)
    except (OSError, msgspec.MsgspecError):
        return Freshness()
