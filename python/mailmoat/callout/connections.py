"""How many connections one source has: so many over all next hops. A next hop that is asked no more leaves them to one that is.

Counts, and never waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat import clock
from mailmoat.delivery.allowance import TURN_PAUSE, Unlimited

if TYPE_CHECKING:
    from mailmoat.delivery.allowance import WorkerConnections


class SharedAllowance(Unlimited):
    """The allowance of one next hop; `connections` counts those of all. It gives idle connections up while one of the others has found none."""

    wanted_until = 0.0
    """Until then one of the others waits for a connection."""

    def __init__(self, connections: WorkerConnections, others: list[SharedAllowance]) -> None:
        self._connections, self._others = connections, others
        others.append(self)

    def enter(self) -> bool:
        """Count one more connection; False where there are as many as may be: it is asked again after `TURN_PAUSE`."""
        if self._connections.take():
            return True
        self.waits_until = clock.monotonic() + TURN_PAUSE
        for other in self._others:
            if other is not self:
                other.wanted_until = self.waits_until + TURN_PAUSE
        return False

    def leave(self) -> None:
        """Take back one `enter`."""
        self._connections.give_back()

    def is_wanted(self) -> bool:
        """Return whether another next hop waits for a connection."""
        return clock.monotonic() < self.wanted_until
