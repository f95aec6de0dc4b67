"""The side that compiles: keeps the snapshot of the recipient file up to date.

Promises: a snapshot in force is only ever replaced by a whole and correct one; a broken source is reported once and the old
snapshot stays. Never answers lookups (`directory.file` does). One process owns a keeper and calls both its methods: it
remembers what failed. Nothing is raised for a source or a disk that is in a bad state: that is a problem in the report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat._native import Directory as Snapshot
from mailmoat._native import compile_directory

if TYPE_CHECKING:
    from pathlib import Path

SNAPSHOT_NAME: Final = "directory.snapshot"
"""Its name in the spool directory."""

RETRY_TIME: Final = 60.0
"""Seconds after which a compile that failed for want of disk or permission, not for a mistake in the source, is due again."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a compile did."""

    entries: int
    """Different entries of the source; 0 when there are problems."""
    problems: tuple[str, ...]
    """One plain sentence each, naming file, line and mend."""
    changed: bool
    """A new snapshot is in force."""


class SnapshotKeeper:
    """Compiles `source` into `snapshot` whenever `source` has changed."""

    def __init__(self, source: Path, snapshot: Path, default_domain: str | None) -> None:
        self._source = source
        self._snapshot = snapshot
        self._default_domain = default_domain or ""
        self._failed: tuple[int, int, int] | None = None
        self._again: float | None = None

    def due(self) -> bool:
        """Whether the source changed since the last compile, good or failed; costs two or three system calls."""
        stamp = stamp_of(self._source)
        if self._again is not None and stamp == self._failed:
            return clock.monotonic() >= self._again
        return stamp != self._failed and not self._is_compiled(stamp)

    def compile(self) -> Report:
        """Compile now, whether due or not."""
        stamp = stamp_of(self._source)
        self._again = None
        try:
            entries, problems = compile_directory(str(self._source), str(self._snapshot), self._default_domain)
        except OSError as error:
            self._again = clock.monotonic() + RETRY_TIME
            problems = [f"it cannot be compiled into {self._snapshot}: {error.strerror or error}"]
        if problems:
            self._failed = stamp
            return Report(0, tuple(f"{self._source}: {problem}" for problem in problems), changed=False)
        self._failed = None
        return Report(entries, (), changed=True)

    def _is_compiled(self, stamp: tuple[int, int, int]) -> bool:
        """Whether the snapshot on disk was made from the source as it is; a new process finds out this way as well."""
        try:
            snapshot = Snapshot(str(self._snapshot))
        except OSError:
            return False
        return snapshot.stamp == stamp and snapshot.default_domain == self._default_domain


def stamp_of(path: Path) -> tuple[int, int, int]:
    """Time of last change in nanoseconds, octets, inode: equal stamps mean an unchanged file; zeros when there is none."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)
