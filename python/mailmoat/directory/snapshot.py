"""The compiler of the recipient file: keeps its snapshot up to date.

Promises: a snapshot in force is only ever replaced by a whole and correct one; a broken source is reported once and the old
snapshot stays. Never answers lookups (`directory.file` does). One process owns a keeper, which
records what failed. A bad source or disk raises nothing: it is a problem in the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat import clock
from mailmoat._native import Directory as Snapshot
from mailmoat._native import compile_directory
from mailmoat.file_changes import Stamp, stamp_of

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat.settings import Settings

SNAPSHOT_NAME: Final = "directory.snapshot"
"""Its name in the spool directory."""

RETRY_TIME: Final = 60.0
"""Seconds after which a compile is due again that failed because of disk or permissions, not because of a mistake in the source."""


class Scope(NamedTuple):
    """What the recipient file is read for: with another scope it is another directory."""

    default_domain: str = ""
    """Given to entries without a domain; empty when there is none."""
    local_domains: tuple[str, ...] = ()
    """Whose recipients are looked up; without any, no entry is called a stranger."""
    unfiltered_domains: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Scope:
        """Return the scope of these settings."""
        relay = settings.relay
        return cls(relay.default_domain or "", relay.local_domains, relay.unfiltered_domains)


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

    def __init__(self, source: Path, snapshot: Path, scope: Scope) -> None:
        self._source = source
        self._snapshot = snapshot
        self._scope = scope
        self._failed: Stamp | None = None
        self._again: float | None = None

    def due(self) -> bool:
        """Return whether the source changed since the last compile, good or failed; costs two or three system calls."""
        stamp = stamp_of(self._source)
        if self._again is not None and stamp == self._failed:
            return clock.monotonic() >= self._again
        return stamp != self._failed and stamp != self.in_force()

    def in_force(self) -> Stamp | None:
        """Return the stamp of the file that the snapshot on disk was made from; None if there is no snapshot of this source for this scope."""
        try:
            snapshot = Snapshot(str(self._snapshot))
        except OSError:
            return None
        return Stamp(*snapshot.stamp) if snapshot.is_for(str(self._source), *self._scope) else None

    def compile(self) -> Report:
        """Compile now, whether due or not."""
        stamp = stamp_of(self._source)
        self._again = None
        try:
            entries, problems, warnings = compile_directory(str(self._source), str(self._snapshot), *self._scope)
        except OSError as error:
            self._again = clock.monotonic() + RETRY_TIME
            entries, problems, warnings = 0, [self._blame(error)], []
        self._failed = stamp if problems else None
        return Report(0 if problems else entries, self._named(problems), self._named(warnings), changed=not problems)

    def _blame(self, error: OSError) -> str:
        wrong = (
            "it cannot be read" if error.filename == str(self._source) else f"{self._snapshot} cannot be made from it"
        )
        return f"{wrong}: {error.strerror or error}"

    def _named(self, sentences: list[str]) -> tuple[str, ...]:
        return tuple(f"{self._source}: {sentence}" for sentence in sentences)
