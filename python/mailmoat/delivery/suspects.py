"""Messages that may have killed a worker: tried alone, one after the other.

When a worker dies of a fault, everything it had in memory for delivery is suspected, and the spool counts one death for each. Here a suspect
is tried with nothing else in memory, so that a second death has one cause: then the spool sets the message aside, and it is not tried any
more until an operator releases it. Promises: a second death counts only for a message that was alone, so that no other one is set
aside; a message whose trial has ended without a death is no suspect any more; other messages wait for a trial no longer than `PATIENCE` and
`TRIAL_TIME` together, and then have at least as much time as it took.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from mailmoat import clock, maillog
from mailmoat._native import Held, Suspicion
from mailmoat.events import Event

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from mailmoat._native import Message, Partition
    from mailmoat.delivery.room import Room
    from mailmoat.runtime.timers import Timers

LOOK: Final = 0.02
"""Seconds between two looks at what is in memory."""
PATIENCE: Final = 5.0
"""Seconds that a trial waits for what is in memory to end; what has not ended by then waits for its next hop and does nothing."""
TRIAL_TIME: Final = 10.0
"""Seconds that a suspect is the only one that is begun."""
BREAK: Final = 1.0
"""Least seconds between two trials."""


class Suspects:
    """The suspects of one worker; `begin` is called with the message of each when it is alone."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timers: Timers,
        room: Room,
        begin: Callable[[Partition, Message], None],
    ) -> None:
        self._loop = loop
        self._timers = timers
        self._room = room
        self._begin = begin
        self._waiting: deque[tuple[Partition, str]] = deque()
        # What is tried; empty when it was held or removed meanwhile.
        self._tried = ""
        self._trials: asyncio.Task[None] | None = None

    def add(self, partition: Partition, queue_id: str) -> None:
        """Let a message wait for its trial."""
        self._waiting.append((partition, queue_id))
        if self._trials is None:
            self._trials = self._loop.create_task(self._try_all())

    def forget(self, queue_id: str) -> None:
        """Take out a message that is held or removed."""
        self._waiting = deque(one for one in self._waiting if one[1] != queue_id)
        if queue_id == self._tried:
            self._tried = ""

    def has(self, queue_id: str) -> bool:
        """Return whether a message waits for its trial or has it."""
        return queue_id == self._tried or any(one[1] == queue_id for one in self._waiting)

    async def _try_all(self) -> None:
        try:
            while self._waiting and not self._room.closed:
                begun = clock.monotonic()
                await self._try(*self._waiting.popleft())
                await self._timers.wait(max(BREAK, clock.monotonic() - begun))
        finally:
            self._trials = None

    async def _try(self, partition: Partition, queue_id: str) -> None:
        self._room.pause()
        self._tried = queue_id
        try:
            await self._ends(lambda: self._room.taken == 0, PATIENCE)
            message = await self._load(partition, queue_id)
            if message is None or self._room.closed:
                return
            partition.note(queue_id, Suspicion.ALONE)
            self._begin(partition, message)
            if not await self._ends(lambda: not self._room.of(queue_id), TRIAL_TIME):
                partition.note(queue_id, Suspicion.IN_COMPANY)
            elif self._tried:
                partition.release(None, queue_id)
        finally:
            self._tried = ""
            self._room.resume()

    async def _ends(self, ended: Callable[[], bool], seconds: float) -> bool:
        """Wait until something has ended, for some seconds at most; return whether it has."""
        late = clock.monotonic() + seconds
        while not ended() and clock.monotonic() < late:
            await self._timers.wait(LOOK)
        return ended()

    async def _load(self, partition: Partition, queue_id: str) -> Message | None:
        waiter = _Loading(self._loop.create_future(), partition, queue_id)
        partition.load(waiter, queue_id)
        return await waiter.loaded


class _Loading:
    """Waits for a message; None when it is gone, or damaged and therefore held."""

    __slots__ = ("_partition", "_queue_id", "loaded")

    def __init__(self, loaded: asyncio.Future[Message | None], partition: Partition, queue_id: str) -> None:
        self.loaded = loaded
        self._partition = partition
        self._queue_id = queue_id

    def done(self, _error: str | None, message: Message | None) -> None:
        if not self.loaded.done():
            self.loaded.set_result(message)

    def damaged(self, reason: str) -> None:
        maillog.event(Event.MESSAGE_DAMAGED, queue_id=self._queue_id, detail=reason)
        self._partition.hold(None, self._queue_id, Held.DAMAGED)
        self.done(None, None)
