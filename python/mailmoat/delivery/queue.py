"""Decides when each message of this worker's partitions is tried, and at which destination (RFC 5321 4.5.4.1).

Promises: every message of a partition given to it is tried when it is due and there is room, for ever until it has left the
spool. The recipients of a message that go to one destination are a group: each group has its own due time and attempts, and one attempt at
a time; the message leaves the spool when its last group has ended. What follows from an attempt is decided by the group's job; the
queue carries it out. After `close` nothing begins: what waits stays in the spool as it is.

What is in memory is bounded (`room.py`); the others wait in the backlog, by queue id alone (`schedule.py`). A destination that cannot be
reached rests with growing pauses; after each, one message tries, and the rest waits untouched.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, assert_never

from mailmoat import clock, maillog
from mailmoat._native import NO_MESSAGE, Held
from mailmoat.delivery import retry
from mailmoat.delivery.adoption import Adopter
from mailmoat.delivery.entry import QueueEntry
from mailmoat.delivery.follows import Ended, ReportFirst, RetryAt
from mailmoat.delivery.job import Job, JobContext
from mailmoat.delivery.opening import no_destination
from mailmoat.delivery.outages import Outages
from mailmoat.delivery.partitions import Partitions
from mailmoat.delivery.room import BIG, FULL_DESTINATIONS, Room
from mailmoat.delivery.route import default_route
from mailmoat.delivery.schedule import Schedule
from mailmoat.delivery.steering import Steering
from mailmoat.delivery.suspects import Suspects
from mailmoat.events import Event
from mailmoat.runtime.ages import Ages

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Sequence

    from mailmoat._native import Message, Outcome, Partition, Recipient, Waiting
    from mailmoat.delivery.attempt import AttemptRecord
    from mailmoat.delivery.destination import Destination
    from mailmoat.delivery.follows import Follows
    from mailmoat.delivery.reporting import Reporter
    from mailmoat.delivery.router import Router
    from mailmoat.metrics import Metrics
    from mailmoat.runtime.spool import SpoolStore
    from mailmoat.runtime.timers import Timers
    from mailmoat.settings import Settings

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
        reporter: Reporter,
    ) -> None:
        self._spool = spool
        ages = Ages()
        self._context = JobContext(metrics, ages, router.passed_on)
        self._reporter = reporter
        self._unrouted = no_destination(loop, default_route(settings.delivery))
        self._schedule = Schedule(timers, router, self._unrouted)
        self._room = Room(FULL_DESTINATIONS * self._unrouted.most, self._schedule, self._load)
        self._schedule.on_due = self._room.fill
        self.outages = Outages(timers, ages, self._schedule, self._room, load=self._load)
        self._suspects = Suspects(loop, timers, self._room, self._try_alone)
        self._adopter = Adopter(loop, timers, self._schedule, metrics.shared, self._suspects.add)
        self._partitions = Partitions(spool.partition, self._schedule.backlog, metrics)
        self._steering = Steering(
            self._schedule, self._room, self.outages, self._suspects, self._partitions, put=self._released
        )
        self.retry, self.forget, self.add = self._steering.retry, self._steering.forget, self._steering.add
        self.waits = self._steering.waits

    @property
    def destinations(self) -> tuple[Destination, ...]:
        """All that are open."""
        return self._schedule.destinations

    @property
    def waiting(self) -> int:
        """Groups that wait, for their time or for room."""
        return len(self._schedule.backlog)

    @property
    def at_rest(self) -> bool:
        """After `close`: everything under way has ended."""
        return self._room.taken == 0 and all(not destination.transport.connections for destination in self.destinations)

    # --- what comes in ---

    def stored(self, message: Message) -> None:
        """Take a message that has just been put into the worker's own partition; it is still in memory."""
        recipients, queue_id = message.recipients, message.queue_id
        groups = self._schedule.groups(message, recipients)
        parted = len(groups) > 1
        for destination, group in groups.items():
            entry = QueueEntry(self, destination, self._spool.partition, queue_id, parted=parted)
            # As long as few are in memory it does not matter whether they are big.
            entry.big = destination.active >= destination.most_big and message.size >= BIG
            if (
                destination.fresh
                or not self._room.has(destination)
                or (entry.big and destination.big >= destination.most_big)
            ):
                entry.big = message.size >= BIG
                entry.partition.unnote(queue_id)
                self._put(entry, message.arrival)
            else:
                self._room.take(entry)
                self._begin(entry, message, recipients, group, 0)

    async def adopt(self, partition: Partition, *, at_once: bool = False) -> None:
        """Take over all messages of a partition whose owner is gone.

        `at_once`: what was deferred is due, because another next hop deferred it.
        """
        if not partition.count:
            return
        self._partitions.add(partition)
        await self._adopter.adopt(
            partition,
            stopped=lambda: self._room.closed,
            longest_s=max(retry.longest(destination.route.retry) for destination in self.destinations),
            at_once=at_once,
        )

    # --- states ---

    def tick(self) -> None:
        """Drop what is not needed any more, and look at the calendar; call it about once a second."""
        self._context.ages.now_ms()
        self._partitions.drop_empty()
        self._schedule.drop_idle()

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
            entry.partition.unnote(entry.queue_id)
            if (
                error is not None
                and not error.startswith(NO_MESSAGE)
                and entry.queue_id not in self._steering.forgotten
            ):
                maillog.event(Event.MESSAGE_NOT_LOADED, queue_id=entry.queue_id, detail=error)
                self._schedule.put(entry, clock.wall_ms(), UNREADABLE_PAUSE, fresh=False, big=entry.big, firm=True)
            self._release(entry)
            return
        recipients = message.recipients
        groups = self._schedule.groups(message, recipients)
        group = groups.pop(entry.destination, [])
        self._part(entry, message, groups)
        attempts = recipients[group[0]].attempts if group else 0
        route = entry.destination.route
        if entry.destination.rest and not retry.expired(message.arrival, self._context.ages.now_ms(), route.expire):
            # Only the delay is to be reported.
            entry.job = job = Job(self._context, route, message, recipients, group, attempts=attempts)
            self._follow(entry, job, job.overdue())
        else:
            self._begin(entry, message, recipients, group, attempts)

    def damaged(self, entry: QueueEntry, reason: str) -> None:
        """Set aside a message that is damaged: it is in the queue no more, and an operator decides."""
        maillog.event(Event.MESSAGE_DAMAGED, queue_id=entry.queue_id, detail=reason)
        entry.partition.hold(None, entry.queue_id, Held.DAMAGED)
        entry.partition.unnote(entry.queue_id)
        self._schedule.forget(entry.queue_id)
        self._release(entry)

    def finished(self, entry: QueueEntry, job: Job, outcomes: list[Outcome], record: AttemptRecord) -> None:
        """Take the end of an attempt."""
        if record.peer:
            self.outages.reached(entry.destination)
        elif self._room.closed:
            # Nobody tried: not an attempt, and no reason to wait longer.
            entry.partition.unnote(entry.queue_id)
            self._release(entry)
            return
        else:
            self.outages.unreachable(entry.destination)
        self._follow(entry, job, job.attempted(outcomes, record))

    def _load(self, destination: Destination, waiting: Waiting) -> None:
        """Bring a group into memory that has its place, unless it is there: one is put in twice that is released while its partition is adopted."""
        if destination in self._room.of(waiting.queue_id):
            return
        entry = QueueEntry.of(self, destination, self._partitions[waiting.partition], waiting)
        self._room.take(entry)
        entry.partition.load(entry, entry.queue_id)

    def _released(self, partition: Partition, queue_id: str) -> None:
        """Try a message that was held; where its recipients go is seen when it is loaded."""
        entry = QueueEntry(self, self._schedule.find(""), partition, queue_id, fresh=False, parted=True)
        self._put(entry, clock.wall_ms())
        self.outages.rested(entry.destination)  # it may go elsewhere, and does not wait until this next hop is back

    def _try_alone(self, partition: Partition, message: Message) -> None:
        """Try a message that may have killed a worker, all of its groups."""
        recipients, queue_id, big = message.recipients, message.queue_id, message.size >= BIG
        groups = self._schedule.groups(message, recipients)
        for destination, group in groups.items():
            entry = QueueEntry(self, destination, partition, queue_id, fresh=False, big=big, parted=len(groups) > 1)
            self._room.take(entry)
            self._begin(entry, message, recipients, group, recipients[group[0]].attempts)
        if not groups:
            partition.remove(queue_id)

    def _part(self, entry: QueueEntry, message: Message, others: Iterable[Destination]) -> None:
        """Put groups of the message of `entry` at further destinations, where there are none yet."""
        queue_id = entry.queue_id
        for destination in others:
            entry.parted = True
            if destination not in self._room.of(queue_id) and not self._schedule.has_at(queue_id, destination):
                self._put(entry.twin(destination), message.arrival)

    def _put(self, entry: QueueEntry, arrival_ms: int) -> None:
        """Let an entry wait for its turn."""
        self._schedule.put(entry, arrival_ms, fresh=entry.fresh, big=entry.big)
        self._room.fill(entry.destination)

    def _begin(
        self, entry: QueueEntry, message: Message, recipients: Sequence[Recipient], group: Sequence[int], attempts: int
    ) -> None:
        """Try the recipients that are pending, or settle at once when there are none."""
        route = entry.destination.route
        entry.job = job = Job(self._context, route, message, recipients, group, attempts=attempts)
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
        if entry.parted:
            # Only the spool knows whether it is the last: others may be in no schedule now, for a hold or for the end of this process.
            entry.end(job, outcomes)
        else:
            entry.partition.remove(entry.queue_id)

    def _reschedule(self, entry: QueueEntry, job: Job, retry_at: RetryAt) -> None:
        """Store how far each recipient is, and let the entry wait until it is due again."""
        entry.settle(job, retry_at.outcomes, retry_at.due, retry_at.attempt, retry_at.reported)
        entry.delayed = retry_at.delayed
        if entry.queue_id not in self._steering.forgotten:
            seconds = retry.wait(clock.wall_ms(), retry_at.due, entry.destination.route.retry)
            big, arrival = job.message.size >= BIG, job.message.arrival
            stranded, firm = retry_at.stranded, retry_at.reports_alone
            self._schedule.put(entry, arrival, seconds, fresh=False, big=big, stranded=stranded, firm=firm)

    def _release(self, entry: QueueEntry) -> None:
        """Free the room of an entry in memory."""
        destination = entry.destination
        entry.job = None
        self._room.release(entry)
        if not self._room.of(entry.queue_id):
            self._steering.forgotten.discard(entry.queue_id)
        if not destination.active:
            self._schedule.idle(destination)
            if destination.rest:
                self.outages.give_up(destination)
