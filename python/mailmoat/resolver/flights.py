"""Questions on their way: equal ones asked at the same time are one, and nobody's leaving costs another the answer.

A question nobody waits for any more is given up. The table is bounded in all and for each zone, so that one dead zone cannot take
the places of all others.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final

from mailmoat.resolver import names
from mailmoat.resolver.answer import Answer, Failed, Failure

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from mailmoat.resolver.cache import Key

MOST: Final = 1000
MOST_OF_A_ZONE: Final = 500


class _Flight:
    __slots__ = ("askers", "task", "zone")

    def __init__(self, zone: str, task: asyncio.Task[Answer]) -> None:
        self.zone = zone
        self.task = task
        self.askers = 0


class Flights:
    """Asked and not yet answered."""

    def __init__(self) -> None:
        self._flights: dict[Key, _Flight] = {}
        self._zones: Counter[str] = Counter()

    def __contains__(self, key: Key) -> bool:
        return key in self._flights

    def full(self, zone: str) -> bool:
        """Whether one more question for this zone is too many."""
        return len(self._flights) >= MOST or self._zones[zone] >= MOST_OF_A_ZONE

    def start(self, key: Key, asking: Coroutine[object, object, Answer]) -> asyncio.Task[Answer]:
        """Send a question on its way; whoever starts one joins it before anything else happens."""
        flight = self._flights[key] = _Flight(names.zone(key[0]), asyncio.create_task(asking))
        self._zones[flight.zone] += 1
        flight.task.add_done_callback(lambda _: self._land(key, flight))
        return flight.task

    async def join(self, key: Key, seconds: float) -> Answer:
        """The answer to a question on its way, or Failed(BUDGET) after so many seconds."""
        flight = self._flights[key]
        flight.askers += 1
        try:
            await asyncio.wait((flight.task,), timeout=seconds)
        finally:
            flight.askers -= 1
            if not flight.askers and not flight.task.done():
                self._land(key, flight)
                flight.task.cancel()
        if not flight.task.done():
            return Failed(Failure.BUDGET)
        return Failed(Failure.BROKEN) if flight.task.cancelled() else flight.task.result()

    async def close(self) -> None:
        """Give all of them up."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _land(self, key: Key, flight: _Flight) -> None:
        if self._flights.get(key) is not flight:
            return
        del self._flights[key]
        self._zones[flight.zone] -= 1
        if not self._zones[flight.zone]:
            del self._zones[flight.zone]
