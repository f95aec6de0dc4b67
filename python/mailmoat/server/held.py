"""The held sessions of this worker, and the bound on those of the whole host (behaviours 1).

Above `max_held` the host's longest-held session is shed: answered 421 4.7.0 and closed. Each worker publishes in shared memory
how many it holds and since when its oldest waits; the worker that goes over the bound finds the slot with the oldest, and asks
that worker through shared memory and its eventfd when it is another one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from mailmoat import clock, metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat._native import Shared


class Holdable(Protocol):
    """A connection whose reply is held."""

    def shed(self) -> None:
        """Answer 421, close, and leave."""


class HeldSessions:
    """Held connections in the order they were held."""

    def __init__(
        self, shared: Shared, slot: int, max_held: int, wakers: Sequence[int], figures: metrics.Metrics
    ) -> None:
        self._shared = shared
        self._slot = slot
        self._max_held = max_held
        self._wakers = wakers
        self._figures = figures
        self._held: dict[Holdable, int] = {}

    def __len__(self) -> int:
        return len(self._held)

    def enter(self, connection: Holdable) -> None:
        """A reply of this connection is held from now on; may shed the host's longest-held session."""
        self._held[connection] = clock.monotonic_ms()
        self._publish()
        if self._max_held and self._shared.sum(metrics.HELD_SESSIONS) > self._max_held:
            slot = self._shared.oldest_held()
            if slot is None or slot == self._slot:
                self._shed()
            else:
                self._shared.request_shed(slot)
                os.eventfd_write(self._wakers[slot], 1)

    def leave(self, connection: Holdable) -> None:
        """The reply was released, or the connection is gone."""
        if self._held.pop(connection, None) is not None:
            self._publish()

    def requested(self) -> None:
        """Another worker rang: shed as many as were asked for."""
        os.eventfd_read(self._wakers[self._slot])
        for _ in range(self._shared.take_shed_requests(self._slot)):
            self._shed()

    def _shed(self) -> None:
        oldest = next(iter(self._held), None)
        if oldest is not None:
            self._figures.add(metrics.TARPIT_SHED)
            oldest.shed()

    def _publish(self) -> None:
        oldest = next(iter(self._held.values()), 0)
        self._figures.set(metrics.HELD_SESSIONS, len(self._held))
        self._shared.set_oldest_held(self._slot, oldest)
