"""Questions on their way: equal ones asked at the same time are one, and nobody's leaving costs another the answer.

A question goes on when nobody waits for it any more: its answer, or that there was none, is worth keeping, and it ends by itself. The
table is bounded in all and for each zone, so that one dead zone cannot take the places of all others.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final

from mailmoat.resolver.answer import Answer, Failed, Failure

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from mailmoat.resolver.cache import Key

MOST: Final = 1000
MOST_OF_A_ZONE: Final = 500


class Flights:
    """Asked and not yet answered."""

    def __init__(self) -> None:
        self._tasks: dict[Key, asyncio.Task[Answer]] = {}
        self._zones: Counter[str] = Counter()

    def __contains__(self, key: Key) -> bool:
        return key in self._tasks

    def __len__(self) -> int:
        return len(self._tasks)

    def full(self, zone: str) -> bool:
        """Whether one more question for this zone is too many."""
        return len(self._tasks) >= MOST or self._zones[zone] >= MOST_OF_A_ZONE

    def start(self, key: Key, zone: str, asking: Coroutine[object, object, Answer]) -> None:
        """Send a question on its way."""
        task = self._tasks[key] = asyncio.create_task(asking)
        self._zones[zone] += 1
        task.add_done_callback(lambda _: self._land(key, zone))

    async def join(self, key: Key, seconds: float) -> Answer:
        """The answer to a question on its way, or Failed(BUDGET) after so many seconds."""
        task = self._tasks[key]
        await asyncio.wait((task,), timeout=seconds)
        if not task.done():
            return Failed(Failure.BUDGET)
        return Failed(Failure.BROKEN) if task.cancelled() else task.result()

    async def close(self) -> None:
        """Give all of them up."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _land(self, key: Key, zone: str) -> None:
        del self._tasks[key]
        self._zones[zone] -= 1
        if not self._zones[zone]:
            del self._zones[zone]
