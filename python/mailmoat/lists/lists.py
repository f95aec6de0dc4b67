"""The lists in force, as a worker asks them: from the compiled snapshot that all workers map.

Promises: a lookup reads shared memory, without a system call; the most specific entry that has not ended decides, and of two entries
for the same prefix that of the allow list. An entry ends at its second. Which snapshot is in force: `mapped_file`; without any, nobody
is on a list, so that mail flows. Never compiles (`lists.compiler` does). `lists.watch` calls
`refresh` twice a second.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat._native import ListSnapshot
from mailmoat.lists.sources import ListName
from mailmoat.mapped_file import MappedFile
from mailmoat.metrics import Family, single

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat._native import ListEntry
    from mailmoat.metrics import Metrics


class ListsState(StrEnum):
    """How the files are that the lists are compiled from."""

    CURRENT = "current"
    """They are in force."""
    WAITING = "waiting"
    """One has changed and may not be finished."""
    REFUSED = "refused"
    """One cannot be used, and what it said before is in force."""


LISTS_STATE: Final = Family(
    "mailmoat_lists_state", "1 for the state of the files of the lists, else 0.", {"state": ListsState}, same=True
)
LIST_ENTRIES: Final = Family(
    "mailmoat_list_entries", "Entries of the block list and the allow list.", {"list": ListName}, same=True
)
WORKERS_LISTS_OK: Final = single(
    "mailmoat_workers_lists_ok", "Workers that can look clients up in the lists, or do not need to."
)


class Lists:
    """The lists in the snapshot at `path`, which need not exist."""

    def __init__(self, path: Path) -> None:
        self.file = MappedFile(path, ListSnapshot)
        self._snapshot: ListSnapshot | None = None
        self._next_end = 0
        self.file.watch(self._take)

    @property
    def usable(self) -> bool:
        """Whether the snapshot that is there is in force; also when there is none."""
        return self.file.error is None or isinstance(self.file.error, FileNotFoundError)

    @property
    def entries(self) -> tuple[int, int]:
        """Entries of the block list and the allow list."""
        return self._snapshot.entries if self._snapshot else (0, 0)

    def find(self, address: str) -> ListEntry | None:
        """Return the entry that decides about a client's address now; None for a client that is on no list."""
        return self._snapshot.find(address, clock.wall_ms() // 1000) if self._snapshot else None

    def refresh(self) -> bool:
        """Map the snapshot anew if it was replaced. Return whether the lists say something else than when this was last called."""
        now = clock.wall_ms() // 1000
        ended = 0 < self._next_end <= now
        if self.file.refresh():
            return True
        if ended:
            self._next_end = self._snapshot.next_end(now) if self._snapshot else 0
        return ended

    def publish(self, metrics: Metrics) -> None:
        """Set a worker's gauges."""
        for name, entries in zip(ListName, self.entries, strict=True):
            metrics.set(LIST_ENTRIES[name], entries)
        metrics.set(WORKERS_LISTS_OK, int(self.usable))

    def _take(self, snapshot: ListSnapshot) -> None:
        self._snapshot = snapshot if any(snapshot.entries) else None
        self._next_end = snapshot.next_end(clock.wall_ms() // 1000)
