"""Decides when each message of this worker's partitions is tried (RFC 5321 4.5.4.1).

Promises: every message of a partition given to it is tried when it is due and there is room, for ever until it has left the
spool; what becomes of it then is delivery.py's. After `close` nothing begins: what waits stays in the spool as it is.

At most `ACTIVE_PER_CONNECTION` messages for each connection are in memory; the others wait by queue id alone, in the order they
became due. A next hop that cannot be reached is tried again by one message at a time with growing pauses; the rest of the queue
waits untouched, so that an outage costs the same with ten messages as with a million. When nothing is due that could try, the worker
sees it by `unasked` and asks. When it answers again, all that the outage deferred comes back at once.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from mailmoat import clock, maillog
from mailmoat.delivery import retry
from mailmoat.delivery.job import Delivery
from mailmoat.net.address import Networks

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from mailmoat._native import Message, Partition, Scheduled
    from mailmoat.delivery.transport import Transport
    from mailmoat.metrics import Metrics
    from mailmoat.runtime.spool import SpoolStore
    from mailmoat.runtime.timers import Timers
    from mailmoat.settings import Settings

ACTIVE_PER_CONNECTION: Final = 8
"""Messages in memory for each connection a worker may have to the next hop."""
ADOPTED_AT_ONCE: Final = 2_000
"""Messages of an adopted partition that are taken into the queue in one turn of the loop."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
"""Seconds between two attempts to reach a next hop that is down."""
UNREADABLE_PAUSE: Final = 30.0
"""Seconds until a message that could not be loaded is tried again."""


class Scheduler:
    """The queue of one worker."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: Settings,
        store: SpoolStore,
        timers: Timers,
        metrics: Metrics,
        *,
        transport: Transport,
    ) -> None:
        self._loop = loop
        self.settings = settings
        self.store = store
        self.timers = timers
        self.metrics = metrics
        self.inside = Networks(settings.relay.networks)
        """Clients whose messages go back to them whole."""
        self._transport = transport
        self._ready: deque[Waiting] = deque()
        # Deferred because the next hop was away or went away, or so it may be, with the keys of their timers.
        self._stranded: dict[Waiting, int] = {}
        self._most = max(1, settings.delivery.connections * ACTIVE_PER_CONNECTION)
        self._active = 0
        self._pause = 0.0
        self._resting = False
        self.closing = False

    @property
    def active(self) -> int:
        """Messages being loaded, tried or settled."""
        return self._active

    @property
    def waiting(self) -> int:
        """Messages that are due and wait for their turn."""
        return len(self._ready)

    @property
    def unasked(self) -> bool:
        """The next hop is away, some wait for it, and none of them is due: it is to be asked without a message."""
        return bool(self._pause and self._stranded) and not (self._resting or self._ready or self._active)

    def accepted(self, message: Message) -> None:
        """A message has just been put into the worker's own partition; it is still in memory."""
        waiting = Waiting(self, self.store.partition, message.queue_id, message.arrival, 0)
        if self._room() and not self._ready:
            self._active += 1
            Delivery(waiting, message).begin()
        else:
            self.put(waiting)

    def adopt(self, partition: Partition, schedule: Iterator[Scheduled], *, at_once: bool = False) -> None:
        """Take over all messages of a partition whose owner is gone; `schedule` is the partition's own.

        `at_once`: what was deferred is due, for it was deferred by another next hop. A part at a time, so that a million messages do
        not stop the loop.
        """
        now, queue_id = clock.wall_ms(), ""
        for group in islice(schedule, ADOPTED_AT_ONCE):
            if group.queue_id == queue_id:
                continue  # its recipients are tried together, at the time of the first
            queue_id = group.queue_id
            waiting = Waiting(self, partition, queue_id, group.arrival, group.attempts)
            if at_once or group.due <= now:
                self._ready.append(waiting)
            else:
                # Perhaps an outage deferred it, which may still last: the end of one brings it back.
                self._stranded[waiting] = self.timers.after(
                    retry.wait(now, group.due, self.settings.delivery.retry), waiting
                )
        self._pump()
        if queue_id and not self.closing:
            self._loop.call_soon(partial(self.adopt, partition, schedule, at_once=at_once))

    def put(self, waiting: Waiting) -> None:
        """A message is due."""
        if self._stranded.pop(waiting, None) is None:
            self._ready.append(waiting)
        else:
            # It has been in front before; and where the oldest are in front they can be given up for age.
            self._ready.appendleft(waiting)
        self._pump()

    def later(self, waiting: Waiting, due: int, *, stranded: bool) -> None:
        """Keep a message until `due`, in milliseconds since the epoch.

        `stranded`: the next hop was away; it is due earlier if that answers earlier.
        """
        key = self.timers.after((due - clock.wall_ms()) / 1000, waiting)
        if stranded:
            self._stranded[waiting] = key

    def submit(self, delivery: Delivery) -> None:
        """Hand it to the transport."""
        self._transport.submit(delivery)

    def reached(self) -> None:
        """The next hop answers: bring back what its absence deferred."""
        if not self._pause:
            return
        self._pause = 0.0
        stranded, self._stranded = self._stranded, {}
        # One whose timer cannot be cancelled comes due in this very turn.
        self._ready.extendleft([waiting for waiting, key in reversed(stranded.items()) if self.timers.cancel(key)])
        self._pump()

    def unreachable(self) -> None:
        """The next hop cannot be reached: rest for a while, unless that is so already."""
        if self._resting or self.closing:
            return
        self._pause = min(self._pause * 2, LONGEST_PAUSE) if self._pause else FIRST_PAUSE
        self._resting = True
        self.timers.after(self._pause, self)
        self._expire()

    def due(self) -> None:
        """The rest is over: try with one message."""
        self._resting = False
        self._pump()

    def leave(self) -> None:
        """A message needs its place in memory no longer."""
        self._active -= 1
        self._pump()

    def close(self) -> None:
        """Begin nothing more; what is under way ends."""
        self.closing = True
        self._transport.close()

    def abort(self) -> None:
        """Defer what is under way."""
        self.closing = True
        self._transport.abort()

    @property
    def at_rest(self) -> bool:
        """After `close`: everything under way has ended."""
        return self._active == 0 and self._transport.connections == 0

    def _room(self) -> bool:
        if self.closing or self._resting:
            return False
        # While it is not known whether the next hop is back, one message tries.
        return self._active < (1 if self._pause else self._most)

    def _pump(self) -> None:
        while self._ready and self._room():
            self._load(self._ready.popleft())

    def _expire(self) -> None:
        """While the next hop is away, give up those at the head of the queue that are too old."""
        now, expire = clock.wall_ms(), self.settings.delivery.expire
        while self._ready and self._active < self._most and retry.expired(self._ready[0].arrival, now, expire):
            self._load(self._ready.popleft())

    def _load(self, waiting: Waiting) -> None:
        self._active += 1
        waiting.partition.load(waiting, waiting.queue_id)


class Waiting:
    """A message that waits for its time or its turn, known by its queue id alone."""

    __slots__ = ("arrival", "attempts", "partition", "queue_id", "scheduler")

    def __init__(self, scheduler: Scheduler, partition: Partition, queue_id: str, arrival: int, attempts: int) -> None:
        self.scheduler = scheduler
        self.partition = partition
        self.queue_id = queue_id
        self.arrival = arrival
        self.attempts = attempts

    def due(self) -> None:
        """Its time has come."""
        self.scheduler.put(self)

    def done(self, error: str | None, message: Message | None) -> None:
        """It was loaded from the spool, or could not be: then it stays and is tried again later."""
        if message is not None and not self.scheduler.closing:
            Delivery(self, message).begin()
            return
        if error is not None:
            maillog.event("message-not-loaded", level="error", queue_id=self.queue_id, reason=error)
            self.scheduler.timers.after(UNREADABLE_PAUSE, self)
        self.scheduler.leave()
