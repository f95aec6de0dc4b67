"""Which failures wait for the next report to their sender, which then names them all: repeats to one address become one report.

A failure that comes shortly after a report to the same address waits in the spool until the address may get another one. The first that
is due then makes a report that names the others, and those end without one of their own. What is remembered here is only what the report says
of them: the spool has every message until a report that names it is stored. After a crash each is due as if it was the first, so that a
sender may be told twice, never not at all. Bounded; what finds no place waits all the same and is reported by itself. Reads no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.reports.folded import Folded

MOST: Final = 2_000
"""Failures of a worker that are remembered."""
KEPT: Final = 600.0
"""Seconds for which a fold is remembered after its last change: the messages in it are due long before."""

Key: TypeAlias = "tuple[str, tuple[int, ...]]"
"""A failure: queue id, and the places of its recipients in the envelope."""


class Place(NamedTuple):
    """Where a failure is in a fold."""

    named: bool
    """A report that names it is stored."""
    storing: bool
    """A report that names it is being stored."""


@dataclass(slots=True)
class Fold:
    """The failures of messages from one reverse-path."""

    last: float
    """When it last changed, in seconds of the monotonic clock."""
    waiting: dict[Key, Folded] = field(default_factory=dict)
    """Those that the next report names."""
    named: set[Key] = field(default_factory=set)
    """Those that the report names that is being stored or is stored, until they are due."""
    until_stored: list[Callable[[str | None], None]] | None = None
    """While a report is being stored: those of `named` that are due meanwhile, called with the error or None."""

    def __len__(self) -> int:
        return len(self.waiting) + len(self.named)


class Folds:
    """The folds of one worker, by address."""

    def __init__(self) -> None:
        self._folds: dict[str, Fold] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def wait(self, address: str, key: Key, folded: Folded, now: float) -> None:
        """Remember a failure that waits for the next report, while there is a place for it."""
        fold = self._folds.get(address)
        if fold is not None and (key in fold.waiting or key in fold.named):
            return
        if self._count >= MOST:
            return
        fold = self._changed(address, fold or Fold(now), now)
        fold.waiting[key] = folded
        self._count += 1

    def place(self, address: str, key: Key) -> Place:
        """Return where a failure is."""
        fold = self._folds.get(address)
        if fold is None or key not in fold.named:
            return Place(named=False, storing=False)
        return Place(named=fold.until_stored is None, storing=fold.until_stored is not None)

    def when_stored(self, address: str, call: Callable[[str | None], None]) -> None:
        """Have `call` called when the report that is being stored is, with the error or None."""
        waiting = self._folds[address].until_stored
        if waiting is None:
            raise RuntimeError("no report is being stored")
        waiting.append(call)

    def leave(self, address: str, key: Key) -> None:
        """Forget a failure that has ended."""
        fold = self._folds.get(address)
        if fold is None:
            return
        self._count -= (fold.waiting.pop(key, None) is not None) + (key in fold.named)
        fold.named.discard(key)
        self._drop_empty(address, fold)

    def begin(self, address: str, key: Key, now: float) -> list[Folded]:
        """Begin to store a report about a failure; return the others that it is to name."""
        fold = self._folds.get(address)
        if fold is None or fold.until_stored is not None:
            return []
        self._count -= fold.waiting.pop(key, None) is not None
        if not fold.waiting:
            self._drop_empty(address, fold)
            return []
        others, fold.waiting = fold.waiting, {}
        fold.named |= others.keys()
        fold.until_stored = []
        self._changed(address, fold, now)
        return list(others.values())

    def stored(self, address: str, error: str | None) -> None:
        """End what `begin` began with others; those that were due meanwhile are called."""
        fold = self._folds.get(address)
        if fold is None or fold.until_stored is None:
            return
        calls, fold.until_stored = fold.until_stored, None
        if error is not None:
            self._count -= len(fold.named)
            fold.named.clear()
            self._drop_empty(address, fold)
        for call in calls:
            call(error)

    def tick(self, now: float) -> None:
        """Forget folds that have not changed for so long that their messages are gone: to be called now and then."""
        for address, fold in list(self._folds.items()):
            if now - fold.last < KEPT:
                return
            if fold.until_stored is None:
                del self._folds[address]
                self._count -= len(fold)

    def _changed(self, address: str, fold: Fold, now: float) -> Fold:
        """Put it behind those that have not changed for longer."""
        self._folds.pop(address, None)
        self._folds[address] = fold
        fold.last = now
        return fold

    def _drop_empty(self, address: str, fold: Fold) -> None:
        if not len(fold) and fold.until_stored is None:
            self._folds.pop(address, None)
