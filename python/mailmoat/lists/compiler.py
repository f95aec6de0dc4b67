"""Makes the snapshot of the lists from their files, and says when that is due.

Promises: of a file with a mistake, or that may not be finished, no line is taken, and what it said before stays; the snapshot is
replaced by a whole one, under the lock of the lists. Reads the administrator's files only where the caller says that they are at
rest. What is wrong with a file is a sentence in the result; OSError when the snapshot cannot be written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from mailmoat import clock
from mailmoat._native import ListSnapshot, compile_lists
from mailmoat.file_changes import NONE, Quiet, Stamp, stamp_of
from mailmoat.lists.sources import ListName, Source, snapshot, sources

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mailmoat.settings import Settings


@dataclass(frozen=True, slots=True)
class Report:
    """What a compile did."""

    blocked: int
    """Entries of the block list."""
    allowed: int
    """Entries of the allow list."""
    problems: tuple[str, ...]
    """One plain sentence each, naming file, line and fix."""
    changed: bool
    """A new snapshot is in force."""


class Wanted(NamedTuple):
    """A source as it is now."""

    source: Source
    stamp: Stamp
    waits_for: str
    """Why it may not be read yet, in words; empty when it may."""


def compile_sources(target: Path, wanted: Sequence[tuple[Source, bool]]) -> Report:
    """Compile each source, those alone that are at rest (True) being read anew. The caller has the lock of the lists."""
    titles = {source.path: source.title for source, _ in wanted}
    given = [(str(source.path), source.name is ListName.ALLOW, source.ours, at_rest) for source, at_rest in wanted]
    blocked, allowed, changed, found = compile_lists(str(target), given, clock.wall_ms() // 1000)
    return Report(blocked, allowed, tuple(f"{titles[path]}: {why}" for path, why in found), changed)


class Compiled:
    """What the snapshot at a path was compiled from; read again when it is replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sources: dict[tuple[Path, ListName], Stamp] = {}
        self.stamp = NONE
        """Of the snapshot."""
        self.entries = (0, 0)
        """Entries of the block list and the allow list."""

    def sources(self) -> dict[tuple[Path, ListName], Stamp]:
        """Return the stamp of each source; nothing when there is no good snapshot."""
        stamp = stamp_of(self._path)
        if stamp != self.stamp:
            self.stamp = stamp
            self._read()
        return self._sources

    def _read(self) -> None:
        try:
            found = ListSnapshot(str(self._path))
        except OSError:
            self.entries, self._sources = (0, 0), {}
            return
        names = {True: ListName.ALLOW, False: ListName.BLOCK}
        self.entries = found.entries
        self._sources = {(path, names[allow]): Stamp(*state) for path, allow, state, _ in found.sources}


class Keeper:
    """Watches the sources of these settings, for the one process that compiles them while a server runs."""

    def __init__(self, settings: Settings) -> None:
        self.target = snapshot(settings)
        self._sources = sources(settings)
        self._quiet = [Quiet() for _ in self._sources]
        self.compiled = Compiled(self.target)

    def look(self) -> tuple[Wanted, ...]:
        """Return the sources as they are; a file of the administrator that may be unfinished waits."""
        before = self.compiled.sources()
        found = []
        for source, quiet in zip(self._sources, self._quiet, strict=True):
            stamp, known = stamp_of(source.path), before.get((source.path, source.name), NONE)
            waits = not source.ours and known not in (NONE, stamp)
            found.append(Wanted(source, stamp, quiet.reason_to_wait(stamp, known) if waits else ""))
        return tuple(found)

    def due(self, wanted: Sequence[Wanted]) -> bool:
        """Return whether a source that may be read is not in the snapshot as it is now, or one there is wanted no more."""
        before = self.compiled.sources()
        named = {(each.source.path, each.source.name): each for each in wanted}
        if any(key not in named for key in before):
            return True
        missing = any(each.stamp == NONE and not each.source.ours for each in wanted)  # to be said, again and again
        return missing or any(before.get(key, NONE) != each.stamp for key, each in named.items() if not each.waits_for)
