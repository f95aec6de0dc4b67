"""Decides when each message of this worker's partitions is tried, and follows it to its end (RFC 5321 4.5.4, 6.1).

Promises: every message of a partition given to it is delivered, reported on, or waits for its time; nothing leaves the spool
before its outcome is known and, where one is owed, its report is in the spool. A crash may deliver twice, never not at all.

At most `ACTIVE` messages are in memory for delivery; the others wait by queue id alone, in the order they became due. A next
hop that cannot be reached is tried again by one message at a time with growing pauses; the rest of the queue waits untouched,
so that an outage costs the same with ten messages as with a million.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from mailmoat import clock, maillog, metrics
from mailmoat.delivery import ndr_policy, report, retry
from mailmoat.delivery.attempt import DEFERRED
from mailmoat.delivery.dsn import Failure
from mailmoat.delivery.route import route
from mailmoat.delivery.transport import make_transport

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from mailmoat._native import Message, Partition
    from mailmoat.delivery.attempt import AttemptRecord, Outcome, Timers
    from mailmoat.settings import Settings

ACTIVE_PER_CONNECTION: Final = 8
"""Messages in memory for each connection a worker may have to the next hop."""
ADOPTED_AT_ONCE: Final = 2_000
"""Messages of an adopted partition that are taken into the queue in one turn of the loop."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
"""Seconds between two attempts to reach a next hop that is down."""
PENDING, DELIVERED, FAILED, CLOSED = range(4)
"""States of a recipient, as `_native.Message.recipients` has them."""
WORDS: Final = {DEFERRED: "deferred", DELIVERED: "delivered", FAILED: "failed"}


class Store(Protocol):
    """Where new messages go: the worker's own partition."""

    @property
    def partition(self) -> Partition:
        """The partition they go into."""

    def next_queue_id(self) -> str:
        """A queue id never used before."""

    def insert(self, waiter: Waiter, message: Message) -> None:
        """Put it on disk; `waiter.done` hears of it."""


class Waiter(Protocol):
    """Who asked the spool for something."""

    def done(self, error: str | None, message: Message | None) -> None:
        """It is done, or `error` says why not."""


class Scheduler:
    """The queue of one worker."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: Settings,
        store: Store,
        timers: Timers,
        figures: metrics.Metrics,
    ) -> None:
        self._loop = loop
        self.settings = settings
        self.store = store
        self.timers = timers
        self.figures = figures
        hop = route("", settings.delivery)
        self._transport = make_transport(loop, hop, settings, timers) if hop else None
        self._ready: deque[Waiting] = deque()
        self._most = max(1, settings.delivery.connections * ACTIVE_PER_CONNECTION)
        self._active = 0
        self._pause = 0.0
        self._resting = False
        self._closing = False

    @property
    def active(self) -> int:
        """Messages being loaded, tried or settled."""
        return self._active

    @property
    def waiting(self) -> int:
        """Messages that are due and wait for their turn."""
        return len(self._ready)

    def accepted(self, message: Message) -> None:
        """A message has just been put into the worker's own partition; it is still in memory."""
        waiting = Waiting(self, self.store.partition, message.queue_id, message.arrival, 0)
        if self._room() and not self._ready:
            self._active += 1
            Delivery(waiting, message).begin()
        else:
            self.put(waiting)

    def adopt(self, partition: Partition, schedule: Iterator[tuple[str, int, int, int]]) -> None:
        """Take over all messages of a partition whose owner is gone; `schedule` is the partition's own.

        A part at a time, so that a million messages do not stop the loop.
        """
        now, queue_id = clock.wall_ms(), ""
        for queue_id, arrival, due, attempts in islice(schedule, ADOPTED_AT_ONCE):
            waiting = Waiting(self, partition, queue_id, arrival, attempts)
            if due <= now:
                self._ready.append(waiting)
            else:
                self.timers.after(retry.wait(now, due, self.settings.delivery.retry), waiting)
        self._pump()
        if queue_id and not self._closing:
            self._loop.call_soon(self.adopt, partition, schedule)

    def put(self, waiting: Waiting) -> None:
        """A message is due."""
        self._ready.append(waiting)
        self._pump()

    def submit(self, delivery: Delivery) -> None:
        """Hand it to the transport."""
        if self._transport is not None:
            self._transport.submit(delivery)

    def reached(self) -> None:
        """The next hop answers."""
        self._pause = 0.0

    def unreachable(self) -> None:
        """The next hop cannot be reached: rest for a while, unless that is so already."""
        if self._resting or self._closing:
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
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Defer what is under way."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    @property
    def at_rest(self) -> bool:
        """After `close`: everything under way has ended."""
        return self._active == 0 and (self._transport is None or self._transport.connections == 0)

    def _room(self) -> bool:
        if self._closing or self._resting or self._transport is None:
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
        if message is not None:
            Delivery(self, message).begin()
            return
        maillog.event("message-not-loaded", level="error", queue_id=self.queue_id, reason=error)
        self.scheduler.figures.add(metrics.SPOOL_ERRORS)
        self.scheduler.timers.after(LONGEST_PAUSE, self)
        self.scheduler.leave()


class Delivery:
    """One message on its way: the transaction that a transport carries out, and what follows from its outcome."""

    __slots__ = ("_outcomes", "indexes", "message", "waiting")

    def __init__(self, waiting: Waiting, message: Message) -> None:
        self.waiting = waiting
        self.message = message
        states = message.recipients
        self.indexes = [index for index, (_, state, _) in enumerate(states) if state == PENDING]
        # Failed before any attempt: accepted to be reported, or a report that a crash prevented.
        self._outcomes: list[Outcome] = [
            (index, FAILED, reply) for index, (_, state, reply) in enumerate(states) if state == FAILED
        ]

    def begin(self) -> None:
        """Try the recipients that are pending, or settle at once when there are none."""
        if self.indexes:
            self.waiting.scheduler.submit(self)
        else:
            self._settle([], "")

    def finished(self, outcomes: list[Outcome], record: AttemptRecord) -> None:
        """The transport's word."""
        waiting, scheduler = self.waiting, self.waiting.scheduler
        if record.peer:
            scheduler.reached()
        else:
            scheduler.unreachable()
        waiting.attempts += 1
        now, expire = clock.wall_ms(), scheduler.settings.delivery.expire
        due = None
        if any(state == DEFERRED for _, state, _ in outcomes):
            if retry.expired(self.message.arrival, now, expire):
                outcomes = [(index, state or FAILED, reply) for index, state, reply in outcomes]
                age = (now - self.message.arrival) / 1000
                recipients = [address for address, _, _ in self.message.recipients]
                maillog.message_expired(
                    queue_id=waiting.queue_id, age=age, attempts=waiting.attempts, recipients=recipients
                )
            else:
                spread = clock.random_below(1001) / 1000
                due = retry.next_due(now, waiting.attempts, scheduler.settings.delivery.retry, spread)
        self._log(outcomes, record, due)
        self._settle(outcomes, record.peer)

    def _settle(self, outcomes: list[Outcome], remote: str) -> None:
        """Report what failed, if that is owed, and then write down what became of each recipient."""
        self._outcomes += outcomes
        failed = [(index, reply) for index, state, reply in self._outcomes if state == FAILED]
        if not failed:
            self._conclude(CLOSED)
            return
        scheduler, message = self.waiting.scheduler, self.message
        ndr = scheduler.settings.ndr
        addresses = [message.recipients[index][0] for index, _ in failed]
        verdict = ndr_policy.judge(message.reverse_path, enabled=ndr.enabled, copy_to=ndr.copy_to)
        if isinstance(verdict, ndr_policy.Suppressed):
            maillog.report_suppressed(about=message.queue_id, reason=verdict.reason, recipients=addresses)
            self._conclude(CLOSED)
            return
        expired = retry.expired(message.arrival, clock.wall_ms(), scheduler.settings.delivery.expire)
        failures = [
            Failure(
                address=message.recipients[index][0],
                reply=reply,
                remote_mta=remote,
                last_attempt_ms=clock.wall_ms() if remote else None,
                expired_after_s=scheduler.settings.delivery.expire if expired and reply[:1] == "4" else None,
            )
            for index, reply in failed
        ]
        made = report.make(message, failures, verdict.recipients, scheduler.store.next_queue_id(), scheduler.settings)
        scheduler.store.insert(_Reported(self, made, addresses), made)

    def reported(self, made: Message, addresses: list[str]) -> None:
        """The report is in the spool."""
        scheduler = self.waiting.scheduler
        scheduler.figures.add(metrics.REPORTS)
        recipients = [address for address, _, _ in made.recipients]
        maillog.report_made(queue_id=made.queue_id, about=self.message.queue_id, to=recipients, recipients=addresses)
        self._conclude(CLOSED)
        scheduler.accepted(made)

    def not_reported(self, error: str) -> None:
        """The report could not be stored: it stays owed and is made at the next attempt."""
        maillog.event("report-not-stored", level="error", about=self.message.queue_id, reason=error)
        self._conclude(FAILED)

    def _conclude(self, failed: int) -> None:
        """Remove the message when every recipient has its end, else store how far each is and wait.

        `failed` is the state that failed recipients get.
        """
        waiting, scheduler = self.waiting, self.waiting.scheduler
        outcomes = [(index, failed if state == FAILED else state, reply) for index, state, reply in self._outcomes]
        if all(state in (DELIVERED, CLOSED) for _, state, _ in outcomes):
            waiting.partition.remove(waiting.queue_id)
            scheduler.leave()
            return
        now = clock.wall_ms()
        spread = clock.random_below(1001) / 1000
        due = retry.next_due(now, waiting.attempts, scheduler.settings.delivery.retry, spread)
        waiting.partition.settle(None, waiting.queue_id, outcomes, due, waiting.attempts)
        scheduler.timers.after((due - now) / 1000, waiting)
        scheduler.leave()

    def _log(self, outcomes: list[Outcome], record: AttemptRecord, due: int | None) -> None:
        recipients = self.message.recipients
        for _, state, _ in outcomes:
            self.waiting.scheduler.figures.add(metrics.ATTEMPTS[WORDS[state]])
        maillog.delivery_attempt(
            queue_id=self.message.queue_id,
            session=self.message.session_id,
            attempt=self.waiting.attempts,
            next_hop=record.peer or record.next_hop,
            mail_from=self.message.reverse_path,
            outcomes=[
                maillog.Outcome(recipients[index][0], WORDS[state], reply)  # type: ignore[arg-type]
                for index, state, reply in outcomes
            ],
            octets=self.message.size,
            duration=record.seconds,
            next_attempt_ms=due,
        )


class _Reported:
    """Waits for a report to be on disk."""

    __slots__ = ("_addresses", "_delivery", "_report")

    def __init__(self, delivery: Delivery, made: Message, addresses: list[str]) -> None:
        self._delivery = delivery
        self._report = made
        self._addresses = addresses

    def done(self, error: str | None, _message: Message | None) -> None:
        """The spool's word."""
        if error is None:
            self._delivery.reported(self._report, self._addresses)
        else:
            self._delivery.not_reported(error)
