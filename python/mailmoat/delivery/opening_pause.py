"""How long no connection is opened after one was refused while others work: the next hop takes no more of them now. Pure but for the clock."""

from __future__ import annotations

from typing import Final

from mailmoat import clock
from mailmoat.growing_pause import next_pause

FIRST: Final = 1.0
LONGEST: Final = 30.0
"""In seconds."""


class OpeningPause:
    """The pause of one pool: none at first, and longer with each refusal in a row."""

    def __init__(self) -> None:
        self._seconds = self._until = 0.0

    def is_over(self, now: float) -> bool:
        """Return whether a connection may be opened at this monotonic second."""
        return now >= self._until

    def begin(self) -> float:
        """Pause after a refusal; return for how many seconds."""
        self._seconds = next_pause(self._seconds, FIRST, LONGEST)
        self._until = clock.monotonic() + self._seconds
        return self._seconds

    def end(self) -> None:
        """End it before its time: fewer connections work than before. The next one is longer all the same."""
        self._until = 0.0

    def forget(self) -> None:
        """Begin with the shortest after the next refusal: a connection was taken, or there is none any more."""
        self._seconds = 0.0
