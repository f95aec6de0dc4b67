"""Whether a source lost so many entries that this may be a mistake: half a result, a filter that matches little, a base that moved. Values."""

from __future__ import annotations

from typing import Final

WINDOW: Final = 3600.0
"""Seconds in which removals are added up."""
FEW: Final = 10
"""Entries that may always be removed one by one, whatever part of a small directory they are."""


class ShrinkGuard:
    """Counts what one source loses; `limit` is the part of 100 that it may lose."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._since = -WINDOW
        self._before = self._lost = 0

    def refuses_whole(self, before: int, after: int) -> str:
        """Return why a full read with `after` entries does not replace one with `before`; empty when it does."""
        if after == 0:
            return "it is empty"
        if 100 * after < (100 - self._limit) * before:
            return f"it has {after} entries, and had {before}: more than {self._limit} % are gone"
        return ""

    def refuses_removal(self, now: float, entries: int, lost: int) -> str:
        """Return why `lost` of `entries` are not removed; empty when they may be, and then they count."""
        if now - self._since >= WINDOW:
            self._since, self._before, self._lost = now, entries, 0
        lost_now = self._lost + lost
        if lost_now > FEW and 100 * lost_now > self._limit * self._before:
            return f"{lost_now} of {self._before} entries are gone: more than {self._limit} %"
        self._lost = lost_now
        return ""

    def reset(self) -> None:
        """Count from now on: a full read is in force."""
        self._since = -WINDOW
