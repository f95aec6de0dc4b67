"""The compiler of a file that all workers map, the recipient file first of all: keeps its snapshot up to date.

Promises: a snapshot in force is only ever replaced by a whole and correct one; a broken source is reported once and the old
snapshot stays. Never answers lookups (`directory.snapshot_directory` does). One process owns a keeper, which
records what failed. A bad source or disk raises nothing: it is a problem in the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from mailmoat import clock
from mailmoat._native import Normalisation
from mailmoat.file_changes import NONE, RETRY_TIME, stamp_of

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat.file_changes import Stamp
    from mailmoat.settings import Settings

SNAPSHOT_NAME: Final = "directory.snapshot"
"""Its name in the spool directory."""


class Compiler(Protocol):
    """Makes the snapshots of one kind of file, and recognises them."""

    def compile(self, source: Path, snapshot: Path) -> tuple[int, list[str], list[str]]:
        """Compile the source; return its different entries, problems and warnings, sentences that name what they are about.

        With problems the snapshot stays, but for a part of the source that cannot be read: then it stays in that. OSError with the file's name.
        """

    def made_from(self, source: Path, snapshot: Path) -> Stamp | None:
        """Return the stamp that the source had when this snapshot was made from it; None when there is no such snapshot."""

    def entries(self, snapshot: Path) -> int | None:
        """Return the different entries of a snapshot, whatever it was made from; None when it cannot be used."""


class Input(NamedTuple):
    """What is compiled: the recipient file, or the table of a source. Of several that have an address, the first decides."""

    number: int
    """What its entries have in the snapshot: 0 is the recipient file, 1 to 255 are tables."""
    name: str
    """What people call a table."""
    path: str
    """Its file."""

    @classmethod
    def text(cls, path: Path) -> Input:
        """Return the recipient file."""
        return cls(0, "", str(path))


class Scope(NamedTuple):
    """What the recipient file is read for: with another scope it is another directory."""

    default_domain: str = ""
    """Given to entries without a domain; empty when there is none."""
    local_domains: tuple[str, ...] = ()
    """Whose recipients are looked up; without any, no entry is called a stranger."""
    unfiltered_domains: tuple[str, ...] = ()
    normalisation: Normalisation = Normalisation()
    """Which spellings are one mailbox."""

    @classmethod
    def of(cls, settings: Settings) -> Scope:
        """Return the scope of these settings."""
        relay = settings.relay
        return cls(relay.default_domain or "", relay.local_domains, relay.unfiltered_domains, settings.normalisation)


@dataclass(frozen=True, slots=True)
class Report:
    """What a compile did."""

    entries: int
    """Different entries of the source; 0 when there are problems."""
    problems: tuple[str, ...]
    """One plain sentence each, naming file, line and fix."""
    warnings: tuple[str, ...]
    """The same for what does nothing."""
    changed: bool
    """A new snapshot is in force."""


class SnapshotKeeper:
    """Compiles `source` into `snapshot` whenever `source` has changed."""

    def __init__(self, source: Path, snapshot: Path, compiler: Compiler) -> None:
        self._source = source
        self._snapshot = snapshot
        self._compiler = compiler
        self._failed: Stamp | None = None
        self._again: float | None = None
        self._known = NONE
        self._made_from: Stamp | None = None
        """What the snapshot with the stamp `_known` was made from."""

    def due(self) -> bool:
        """Return whether the source changed since the last compile, good or failed; costs a `stat` of each of the two files."""
        stamp = stamp_of(self._source)
        if self._again is not None and stamp == self._failed:
            return clock.monotonic() >= self._again
        return stamp != self._failed and stamp != self.in_force()

    def in_force(self) -> Stamp | None:
        """Return the stamp of the file that the snapshot on disk was made from; None if there is no snapshot of this source for this scope."""
        stamp = stamp_of(self._snapshot)
        if stamp != self._known or self._made_from is None:
            self._known, self._made_from = stamp, self._compiler.made_from(self._source, self._snapshot)
        return self._made_from

    def compile(self) -> Report:
        """Compile now, whether due or not."""
        stamp = stamp_of(self._source)
        self._again = None
        try:
            entries, problems, warnings = self._compiler.compile(self._source, self._snapshot)
        except OSError as error:
            self._again = clock.monotonic() + RETRY_TIME
            entries, problems, warnings = 0, [self._blame(error)], []
        self._failed = stamp if problems else None
        return Report(0 if problems else entries, tuple(problems), tuple(warnings), changed=not problems)

    def _blame(self, error: OSError) -> str:
        wrong = (
            "it cannot be read" if error.filename == str(self._source) else f"{self._snapshot} cannot be made from it"
        )
        return f"{self._source}: {wrong}: {error.strerror or error}"
