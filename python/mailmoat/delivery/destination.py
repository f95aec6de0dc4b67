"""A next hop as the queue sees it: how many messages may be in memory for it, and whether it answers.

What waits for it is in the backlog, in the line with its name. A destination holds no timer, reads no clock and loads nothing: the queue
does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat.growing_pause import next_pause

if TYPE_CHECKING:
    from mailmoat.delivery.offers import Learned
    from mailmoat.delivery.route import Route
    from mailmoat.delivery.transport import Transport

ACTIVE_PER_CONNECTION: Final = 8
"""Messages in memory for each connection a worker may have to the next hop."""
OLD_SHARE: Final = 4
"""One of so many may be a message that was tried before, so that a backlog leaves room for fresh ones."""
BIG_SHARE: Final = 4
"""One of so many connections may be busy with a big message."""
UNPROVEN_SHARE: Final = 8
"""One of so many may be in memory for a next hop that has not answered yet: a dozen that are away take no room from the others."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
"""Seconds between two attempts to reach a next hop that is down."""


class Destination:
    """One next hop: its transport, how many messages may be in memory for it, and its state."""

    def __init__(self, name: str, transport: Transport, route: Route, learned: Learned | None = None) -> None:
        self.name = name
        """The next hop in its written form, by which the spool remembers where recipients were tried; empty for none."""
        self.route = route
        """What holds for its messages."""
        self.transport = transport
        self.learned = learned
        """What it offers; None where nothing is to be learned."""
        self.line = -1
        """The number of its line in the backlog; -1 before something has waited."""
        self.ready = False
        """Something that waits is due."""
        self.fresh = 0
        """Messages accepted by this worker that wait for room and were never tried."""
        self.most = max(1, route.connections * ACTIVE_PER_CONNECTION)
        """Messages for it in memory at the same time."""
        self.most_old = max(1, self.most // OLD_SHARE)
        """Of those, messages that were tried before."""
        self.most_big = max(1, route.connections // BIG_SHARE)
        """And big ones."""
        self.active = 0
        """Messages being loaded, tried or settled."""
        self.old = 0
        """Of those, messages that were tried before."""
        self.big = 0
        """And big ones."""
        self.rest = 0
        """The key of the timer that ends its pause; 0 when it is not paused."""
        self.proven = False
        """It has answered since it was opened or was away."""
        self._pause = 0.0

    @property
    def limit(self) -> int:
        """Messages that may be in memory now: none while it rests, one while it is not known whether it is back, few until it has answered."""
        if self.proven:
            return self.most
        if self.rest:
            return 0
        return 1 if self._pause else max(1, self.most // UNPROVEN_SHARE)

    @property
    def away(self) -> bool:
        """The next hop could not be reached when last tried."""
        return bool(self._pause)

    def reached(self) -> None:
        """End the outage, or the doubt, because the next hop answers."""
        self._pause = 0.0
        self.proven = True

    def unreachable(self) -> float:
        """Return the seconds of the pause that begins because the next hop cannot be reached."""
        self.proven = False
        self._pause = next_pause(self._pause, FIRST_PAUSE, LONGEST_PAUSE)
        return self._pause
