"""The crash-loop guard of one `ChildSpec`: how long to wait before a process that ended is replaced. Pure; reads no clock."""

from __future__ import annotations

from typing import Final

GOOD_SERVICE: Final = 60.0
"""Seconds of service after which a crash counts as the first one."""
FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 30.0


class Backoff:
    """Counts the failures in a row."""

    __slots__ = ("failures",)

    def __init__(self) -> None:
        self.failures = 0

    def wait(self, served: float) -> float:
        """Give the seconds to wait after a process that `served` so many seconds: none at first, then doubling up to 30."""
        self.failures = 1 if served >= GOOD_SERVICE else self.failures + 1
        if self.failures == 1:
            return 0.0
        return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(self.failures - 2, 16))
