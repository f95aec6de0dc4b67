"""How many connections and messages a destination may have: those of all workers together by its route, and this worker's by its descriptors.

Counts, and never waits. What is entered has to be left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat import clock

if TYPE_CHECKING:
    from mailmoat._native import NextHopShare

TURN: Final = 5.0
"""Seconds a connection is used before it is given up for another worker that waits for one."""
TURN_PAUSE: Final = 0.5
"""Seconds until it is looked again whether the other workers leave a connection, or want one."""


class WorkerConnections:
    """The connections to all next hops that one worker may have: each needs a descriptor, and one for the content it sends."""

    __slots__ = ("_left",)

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self) -> bool:
        """Count one more, if it may be."""
        if self._left <= 0:
            return False
        self._left -= 1
        return True

    def give_back(self) -> None:
        """Count one less."""
        self._left += 1


class Unlimited:
    """The allowance of a destination that no other worker has."""

    waits_until = 0.0
    """Until then no connection is asked for."""
    held_until = 0.0
    """Until then the rate permits no message."""
    is_rated = False
    """Messages have a rate."""

    def enter(self) -> bool:
        """Count one more connection; False where there are as many as may be."""
        return True

    def leave(self) -> None:
        """Take back one `enter`."""

    def rest(self) -> None:
        """Note that nothing waits for a connection any more."""

    def is_wanted(self) -> bool:
        """Return whether another worker waits for a connection, while this one has more than its part."""
        return False

    def yields(self, since: float) -> bool:  # noqa: ARG002 - the question
        """Return whether another worker waits for the connection that is in use since this monotonic second, and it is its turn."""
        return False

    def spend(self) -> float:
        """Spend one message, or return the seconds until that is possible."""
        return 0.0


class Allowance(Unlimited):
    """What one destination may have, and how it is shared with the other workers."""

    def __init__(self, share: NextHopShare, worker: WorkerConnections) -> None:
        self._share = share
        self._worker = worker
        self.is_rated = share.is_rated

    def enter(self) -> bool:
        """Count one more connection; False where there are as many as may be: it is asked again after `TURN_PAUSE`."""
        if self._worker.take():
            if self._share.enter():
                return True
            self._worker.give_back()
        self.waits_until = clock.monotonic() + TURN_PAUSE
        return False

    def leave(self) -> None:
        """Take back one `enter`."""
        self._worker.give_back()
        self._share.leave()

    def rest(self) -> None:
        """Note that nothing waits for a connection any more."""
        self._share.rest()

    def is_wanted(self) -> bool:
        """Return whether another worker waits for a connection, while this one has more than its part."""
        return self._share.yields()

    def yields(self, since: float) -> bool:
        """Return whether another worker waits for the connection that is in use since this monotonic second, and it is its turn."""
        now = clock.monotonic()
        if now - since < TURN or not self._share.yields():
            return False
        self.waits_until = now + 2 * TURN_PAUSE  # the other looks every `TURN_PAUSE`
        return True

    def spend(self) -> float:
        """Spend one message, or return the seconds until that is possible."""
        now = clock.monotonic()
        wait = self._share.spend(now)
        self.held_until = now + wait
        return wait
