"""Decides when each message of this worker's partitions is tried, and at which destination (RFC 5321 4.5.4.1).

Promises: every message of a partition given to it is tried when it is due and there is room, for ever until it has left the
spool. The recipients of a message that go to one destination are a group: each group has an entry of its own, with its own due time
and attempts, and one attempt at a time; the message leaves the spool when its last group has ended. What follows from an attempt is
decided by the group's job; the queue carries it out. After `close` nothing begins: what waits stays in the spool as it is.

Messages in memory are bounded for each destination and for all together; the others wait by queue id alone, in the order they became
due. When the bound for all is reached, destinations take turns, and one that has nothing in memory may always have one: a next hop
that is down or slow takes no room from the others.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, assert_never

from mailmoat import clock, maillog
from mailmoat._native import Held
from mailmoat.delivery import retry
from mailmoat.delivery.adoption import entries
from mailmoat.delivery.destination import Destination, QueueEntry, join
from mailmoat.delivery.follows import Ended, ReportFirst, RetryAt
from mailmoat.delivery.job import Job, JobContext
from mailmoat.delivery.opening import no_destination
from mailmoat.delivery.reporting import Reporter
from mailmoat.delivery.room import FULL_DESTINATIONS, Room
from mailmoat.delivery.route import default_route
from mailmoat.events import Event

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator, Sequence

    from mailmoat._native import Message, Outcome, Partition, Recipient, Scheduled
    from mailmoat.delivery.attempt import AttemptRecord
    from mailmoat.delivery.follows import Follows
    from mailmoat.delivery.router import Router
    from mailmoat.metrics import Metrics
    from mailmoat.runtime.spool import SpoolStore
    from mailmoat.runtime.timers import Timers
    from mailmoat.settings import Settings

ADOPTED_AT_ONCE: Final = 2_000
"""Messages of an adopted partition that are taken into the queue in one turn of the loop."""
UNREADABLE_PAUSE: Final = 30.0
"""Seconds until a message that could not be loaded is tried again."""


class Queue:
    """The queue of one worker."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: Settings,
        *,
        spool: SpoolStore,
        timers: Timers,
        metrics: Metrics,
        router: Router,
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._spool = spool
        self._timers = timers
        self._router = router
        self._context = JobContext(metrics)
        self._reporter = Reporter(spool, settings)
        self._unrouted = no_destination(loop, default_route(settings.delivery))
        self._room = Room(FULL_DESTINATIONS * self._unrouted.most, self._load)

    @property
    def destinations(self) -> tuple[Destination, ...]:
        """All that entries can be at."""
        return (*self._router.destinations, self._unrouted)

    @property
    def at_rest(self) -> bool:
        """After `close`: everything under way has ended."""
        return self._room.taken == 0 and all(not destination.transport.connections for destination in self.destinations)

    # --- what comes in ---

    def stored(self, message: Message) -> None:
        """Take a message that has just been put into the worker's own partition; it is still in memory."""
        recipients, arrival = message.recipients, message.arrival
        groups = self._groups(message, recipients)
        made = [
            QueueEntry(
                self,
                destination,
                partition=self._spool.partition,
                queue_id=message.queue_id,
                arrival=arrival,
                due_ms=arrival,
                attempts=0,
            )
            for destination in groups
        ]
        join(made)
        for entry, group in zip(made, groups.values(), strict=True):
            destination = entry.destination
            if destination.ready or not self._room.has(destination):
                self.put(entry)
            else:
                self._room.take(destination)
                self._begin(entry, message, recipients, group)

    def adopt(self, partition: Partition, schedule: Iterable[Scheduled], *, at_once: bool = False) -> None:
        """Take over all messages of a partition whose owner is gone; `schedule` is the partition's own.

        `at_once`: what was deferred is due, because another next hop deferred it.
        """
        default = self._router.default or self._unrouted
        self._adopt(entries(self, partition, schedule, self.destinations, default), at_once=at_once)

    def _adopt(self, messages: Iterator[list[QueueEntry]], *, at_once: bool) -> None:
        """Take over a part at a time, so that a million messages do not stop the loop."""
        now, more = clock.wall_ms(), False
        for message in islice(messages, ADOPTED_AT_ONCE):
            more = True
            for entry in message:
                if at_once or entry.due_ms <= now:
                    entry.destination.ready.append(entry)
                else:
                    # Perhaps an outage deferred it, which may still last: the end of one brings it back.
                    self._wait(entry, stranded=True)
        for destination in self.destinations:
            self._room.fill(destination)
        if more and not self._room.closed:
            self._loop.call_soon(partial(self._adopt, messages, at_once=at_once))

    def put(self, entry: QueueEntry) -> None:
        """Add an entry that is due."""
        entry.destination.add(entry)
        self._room.fill(entry.destination)

    # --- outages ---

    def reached(self, destination: Destination) -> None:
        """Try the messages again that were deferred while the next hop was away."""
        if destination.away:
            self._timers.cancel(destination.rest)
            destination.rest = 0
            # One whose timer cannot be cancelled comes due in this very turn.
            destination.add_first([entry for entry, key in destination.reached().items() if self._timers.cancel(key)])
            self._room.fill(destination)

    def unreachable(self, destination: Destination) -> None:
        """Pause a destination that cannot be reached, unless it is paused already."""
        if self._room.closed or destination.rest:
            return
        destination.rest = self._timers.after(destination.unreachable(), _Rest(self, destination))
        # Give up those at the head that are too old.
        now, expire, ready = clock.wall_ms(), destination.route.expire, destination.ready
        while ready and destination.active < destination.most and retry.expired(ready[0].arrival, now, expire):
            self._room.load_next(destination)

    def rested(self, destination: Destination) -> None:
        """End the pause of a destination: try with one message."""
        destination.rest = 0
        self._room.fill(destination)

    def close(self) -> None:
        """Begin nothing more; what is under way ends."""
        self._room.close()
        for destination in self.destinations:
            destination.transport.close()

    def abort(self) -> None:
        """Defer what is under way."""
        self._room.close()
        for destination in self.destinations:
            destination.transport.abort()

    # --- what becomes of an entry that is in memory ---

    def loaded(self, entry: QueueEntry, error: str | None, message: Message | None) -> None:
        """Take the message that was loaded from the spool; if that failed, it stays and is tried again later."""
        if message is None or self._room.closed:
            if error is not None:
                maillog.event(Event.MESSAGE_NOT_LOADED, queue_id=entry.queue_id, detail=error)
                self._timers.after(UNREADABLE_PAUSE, entry)
            self._release(entry)
            return
        recipients = message.recipients
        groups = self._groups(message, recipients)
        group = groups.pop(entry.destination, [])
        self._part(entry, groups)
        self._begin(entry, message, recipients, group)

    def damaged(self, entry: QueueEntry, reason: str) -> None:
        """Set aside a message that is damaged: it is in the queue no more, and an operator decides."""
        maillog.event(Event.MESSAGE_DAMAGED, queue_id=entry.queue_id, detail=reason)
        entry.partition.hold(None, entry.queue_id, Held.DAMAGED)
        self._release(entry)

    def finished(self, entry: QueueEntry, job: Job, outcomes: list[Outcome], record: AttemptRecord) -> None:
        """Take the end of an attempt."""
        if record.peer:
            self.reached(entry.destination)
        elif self._room.closed:
            # Nobody tried: not an attempt, and no reason to wait longer.
            self._release(entry)
            return
        else:
            self.unreachable(entry.destination)
        self._follow(entry, job, job.attempted(outcomes, record))

    def _part(self, entry: QueueEntry, others: Iterable[Destination]) -> None:
        """Put entries at further destinations of the message of `entry`, where there were none yet."""
        siblings = entry.siblings or {entry.destination: entry}
        added = [entry.twin(destination) for destination in others if destination not in siblings]
        for twin in added:
            siblings[twin.destination] = twin
            twin.siblings = entry.siblings = siblings
        for twin in added:
            self.put(twin)

    def _release(self, entry: QueueEntry) -> None:
        """Free the room of an entry in memory."""
        entry.job = None
        self._room.release(entry.destination)

    def _reschedule(self, entry: QueueEntry, job: Job, retry_at: RetryAt) -> None:
        """Store how far each recipient is, and keep the entry until it is due again."""
        entry.due_ms, entry.attempts = retry_at.due, job.attempts
        entry.settle(retry_at.outcomes, attempt=retry_at.attempt, reported=retry_at.reported)
        self._wait(entry, stranded=retry_at.stranded)

    def _begin(
        self, entry: QueueEntry, message: Message, recipients: Sequence[Recipient], group: Sequence[int]
    ) -> None:
        """Try the recipients that are pending, or settle at once when there are none."""
        entry.job = job = Job(
            self._context, entry.destination.route, message, recipients, group, attempts=entry.attempts
        )
        if job.indexes:
            entry.destination.transport.submit(entry)
        else:
            self._follow(entry, job, job.settle())

    def _follow(self, entry: QueueEntry, job: Job, follows: Follows) -> None:
        match follows:
            case Ended():
                self._end(entry, job, follows.outcomes)
            case RetryAt():
                self._reschedule(entry, job, follows)
            case ReportFirst():
                self._reporter.report(job, follows, partial(self._follow, entry, job))
                return
            case _:
                assert_never(follows)
        self._release(entry)

    def _end(self, entry: QueueEntry, job: Job, outcomes: list[Outcome]) -> None:
        """Remove the message with its last group; before that store what became of this one."""
        siblings = entry.siblings
        if siblings is not None:
            siblings[entry.destination] = None
            if any(siblings.values()):
                entry.attempts = job.attempts
                if outcomes:
                    entry.settle(outcomes)
                return
        entry.partition.remove(entry.queue_id)

    def _groups(self, message: Message, recipients: Sequence[Recipient]) -> dict[Destination, list[int]]:
        """Return the indexes of the recipients that are open, by destination."""
        groups: dict[Destination, list[int]] = {}
        for index, recipient in enumerate(recipients):
            if recipient.is_open:
                groups.setdefault(self._router(recipient, message) or self._unrouted, []).append(index)
        return groups

    def _wait(self, entry: QueueEntry, *, stranded: bool) -> None:
        seconds = retry.wait(clock.wall_ms(), entry.due_ms, entry.destination.route.retry)
        key = self._timers.after(seconds, entry)
        if stranded:
            entry.destination.stranded[entry] = key

    def _load(self, entry: QueueEntry) -> None:
        entry.partition.load(entry, entry.queue_id)


class _Rest:
    """Ends the rest of a destination."""

    __slots__ = ("_destination", "_queue")

    def __init__(self, queue: Queue, destination: Destination) -> None:
        self._queue = queue
        self._destination = destination

    def due(self) -> None:
        self._queue.rested(self._destination)
