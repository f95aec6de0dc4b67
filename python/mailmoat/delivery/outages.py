"""Next hops that cannot be reached: who asks whether they are back, and what happens then.

A destination that cannot be reached rests with growing pauses; after each, one message tries, and the rest waits untouched, so that an outage
costs the same with ten messages as with a million. Where none is due, the next hop is to be asked without one (`unasked`). When
it answers, everything that its absence deferred is due at once. Meanwhile those that have become too old are given up, and the delay of
others is reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat._native import Waiting
    from mailmoat.delivery.destination import Destination
    from mailmoat.delivery.room import Room
    from mailmoat.delivery.schedule import Schedule
    from mailmoat.runtime.ages import Ages
    from mailmoat.runtime.timers import Timers


class Outages:
    """The outages of the destinations of one worker; `load` is called with each group that is too old."""

    def __init__(
        self,
        timers: Timers,
        ages: Ages,
        schedule: Schedule,
        room: Room,
        *,
        load: Callable[[Destination, Waiting], None],
    ) -> None:
        self._timers = timers
        self._ages = ages
        self._schedule = schedule
        self._room = room
        self._load = load

    def reached(self, destination: Destination) -> None:
        """Give a next hop that answers its full room; try the messages again that were deferred while it was away."""
        if destination.proven:
            return
        self._timers.cancel(destination.rest)
        destination.rest = 0
        if destination.away:
            self._schedule.release(destination)
        destination.reached()
        self._room.fill(destination)

    def unreachable(self, destination: Destination) -> None:
        """Pause a destination that cannot be reached, unless it is paused already."""
        if self._room.closed or destination.rest:
            return
        destination.rest = self._timers.after(destination.unreachable(), _Rest(self, destination))
        self.give_up(destination)

    def rested(self, destination: Destination) -> None:
        """End the pause of a destination, if there is one: try with one message."""
        self._timers.cancel(destination.rest)
        destination.rest = 0
        self._room.fill(destination)

    def unasked(self, destination: Destination) -> bool:
        """Return whether a next hop is away, some wait for it, and none of them is due: it has to be asked without a message."""
        if not destination.away or destination.rest or destination.ready or destination.active:
            return False
        return self._schedule.waiting(destination) > 0

    def give_up(self, destination: Destination) -> None:
        """Load those that are too old to wait for the end of an outage without a word to their senders, as far as there is room."""
        now, route, most = self._ages.now_ms(), destination.route, destination.most - destination.active
        expired = now - round(route.expire * 1000)
        overdue = now - round(route.delay_report * 1000) if route.delay_report else 0
        for waiting in self._schedule.take_older(destination, expired_ms=expired, overdue_ms=overdue, most=most):
            self._load(destination, waiting)


class _Rest:
    """Ends the rest of a destination."""

    __slots__ = ("_destination", "_outages")

    def __init__(self, outages: Outages, destination: Destination) -> None:
        self._outages = outages
        self._destination = destination

    def due(self) -> None:
        self._outages.rested(self._destination)
