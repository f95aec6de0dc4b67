"""The held sessions of this worker, and the limit on those of the whole host.

A hold keeps its place until its end: a client that disconnects while it is held frees its session, its memory and its
descriptor at once, but it counts for the held sessions, for the connections of its source and of the host until the hold would have
ended. So guessing addresses by disconnecting is no faster than by waiting.

Above `max_held` the host's longest hold is evicted: its client is answered 421 4.7.0 and closed, if it is still there. Each worker
publishes in shared memory how many it holds and since when its oldest waits; the worker that goes over the bound finds the slot with
the oldest, and asks that worker through shared memory and its eventfd when it is another one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from mailmoat import clock
from mailmoat.metrics import HELD_SESSIONS, TARPIT_DISCONNECTED, TARPIT_EVICTIONS, TARPIT_HOLDS, TARPIT_TIME, Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mailmoat._native import Shared


class Holdable(Protocol):
    """A connection whose reply is held."""

    def due(self) -> None:
        """End the hold."""

    def evict(self) -> None:
        """Answer 421, close, and leave."""


class Hold:
    """One reply held; what waits for its deadline."""

    __slots__ = ("_connection", "_give_back", "_sessions")

    def __init__(self, connection: Holdable, sessions: HeldSessions) -> None:
        self._connection: Holdable | None = connection
        self._give_back: Callable[[], None] | None = None
        self._sessions = sessions

    def abandoned(self, give_back: Callable[[], None]) -> None:
        """Continue without the client: call `give_back` when the hold would have ended, or is evicted."""
        self._connection = None
        self._give_back = give_back
        self._sessions.metrics.add(TARPIT_DISCONNECTED)

    def due(self) -> None:
        """Handle the deadline."""
        if self._connection is not None:
            self._connection.due()
        else:
            self._end()

    def evict(self) -> None:
        """End the hold early: it is the longest of too many."""
        if self._connection is not None:
            self._connection.evict()
        else:
            self._end()

    def _end(self) -> None:
        give_back, self._give_back = self._give_back, None
        if give_back is not None:  # its deadline still comes when it was evicted
            self._sessions.leave(self)
            give_back()


class HeldSessions:
    """Holds in the order they began."""

    def __init__(self, shared: Shared, slot: int, max_held: int, wakers: Sequence[int], metrics: Metrics) -> None:
        self._shared = shared
        self._slot = slot
        self._max_held = max_held
        self._wakers = wakers
        self.metrics = metrics
        self._held: dict[Hold, int] = {}

    def __len__(self) -> int:
        return len(self._held)

    def enter(self, hold: Hold, milliseconds: int) -> None:
        """Begin a hold of this length; it may end the longest hold of the host."""
        self.metrics.add(TARPIT_HOLDS)
        self.metrics.add(TARPIT_TIME, milliseconds)
        self._held[hold] = clock.monotonic_ms()
        self._publish()
        if self._max_held and self._shared.sum(HELD_SESSIONS) > self._max_held:
            slot = self._shared.oldest_held()
            if slot is None or slot == self._slot:
                self._evict()
            else:
                self._shared.request_eviction(slot)
                os.eventfd_write(self._wakers[slot], 1)

    def leave(self, hold: Hold) -> None:
        """End the hold."""
        if self._held.pop(hold, None) is not None:
            self._publish()

    def requested(self) -> None:
        """End as many holds as another worker requested."""
        os.eventfd_read(self._wakers[self._slot])
        for _ in range(self._shared.take_eviction_requests(self._slot)):
            self._evict()

    def _evict(self) -> None:
        oldest = next(iter(self._held), None)
        if oldest is not None:
            self.metrics.add(TARPIT_EVICTIONS)
            oldest.evict()

    def _publish(self) -> None:
        oldest = next(iter(self._held.values()), 0)
        self.metrics.set(HELD_SESSIONS, len(self._held))
        self._shared.set_oldest_held(self._slot, oldest)
