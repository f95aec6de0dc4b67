"""From a partition whose owner is gone into the backlog: a part at a time, in a thread, without an object for each message.

A group goes to the destination where it was last tried, or else to the default one; only loading the message shows where its recipients
go now, and the queue then parts it. What its owner had in memory when it crashed is suspected of that (`suspects.py`). Neither the loop nor the GIL is held while a partition is read: it may have a million messages.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from mailmoat import clock, maillog
from mailmoat._native import Suspicion
from mailmoat.delivery.room import BIG
from mailmoat.events import Event

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from mailmoat._native import Partition, Shared
    from mailmoat.delivery.schedule import Schedule
    from mailmoat.runtime.timers import Timers


NOT_SEEN: Final = 5.0
"""Seconds after which a death that the supervisor has not seen is taken for no crash."""
LOOK: Final = 0.05
AGAIN: Final = 10.0
"""Seconds until a partition that could not be read is read again."""


class Adopter:
    """Adopts for one worker; `suspect` is called with each message that may have killed its worker."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timers: Timers,
        schedule: Schedule,
        shared: Shared,
        suspect: Callable[[Partition, str], None],
    ) -> None:
        self._loop = loop
        self._timers = timers
        self._schedule = schedule
        self._shared = shared
        self._suspect = suspect

    async def adopt(
        self, partition: Partition, *, stopped: Callable[[], bool], longest_s: float, at_once: bool
    ) -> None:
        """Add all that waits in a partition, unless it is stopped; while it cannot be read, that is tried again and again.

        No group waits longer than `longest_s` from now. `at_once`: what was deferred is due now.
        """
        await self._count_crash(partition)
        after: int | None = 0
        while after is not None and not stopped():
            fill = partial(
                partition.fill,
                self._schedule.backlog,
                after,
                wall_ms=clock.wall_ms(),
                now_ms=clock.monotonic_ms(),
                longest_ms=round(longest_s * 1000),
                big=BIG,
                at_once=at_once,
            )
            try:
                after, unknown, suspects = await self._loop.run_in_executor(None, fill)
            except OSError as error:
                maillog.event(Event.PARTITION_NOT_ADOPTED, detail=str(error))
                await self._timers.wait(AGAIN)
                continue
            for name in unknown:
                self._schedule.backlog.alias(name, self._schedule.line(self._schedule.find(name)))
            for queue_id in suspects:
                maillog.event(Event.MESSAGE_SUSPECTED, queue_id=queue_id)
                self._suspect(partition, queue_id)
            self._schedule.due()

    async def _count_crash(self, partition: Partition) -> None:
        """Count the crash of the owner for the messages that it had in memory; the spool sets aside those for which it is the second.

        For one that was suspected already and was not alone in memory it is no evidence.
        """
        for queue_id, suspicion in await self._crashed_with(partition.tag):
            if suspicion == Suspicion.IN_COMPANY:
                continue
            try:
                crashes = await self._loop.run_in_executor(None, partition.crashed, queue_id)
            except OSError as error:
                maillog.event(Event.PARTITION_NOT_ADOPTED, detail=str(error))
                return
            if crashes > 1:
                maillog.event(Event.MESSAGE_SET_ASIDE, queue_id=queue_id, crashes=crashes)

    async def _crashed_with(self, tag: str) -> list[tuple[str, int]]:
        late = clock.monotonic() + NOT_SEEN
        while (found := self._shared.crashed_with(tag)) is None:
            if clock.monotonic() >= late:
                return []
            await self._timers.wait(LOOK)
        return found
