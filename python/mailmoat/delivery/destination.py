"""A next hop as the queue sees it: what waits for it, how many messages may be in memory for it, and whether it answers.

A destination that cannot be reached rests with growing pauses; after each, one message at a time tries, and the rest waits
untouched, so that an outage costs the same with ten messages as with a million. When it answers, all that its absence deferred
comes back at once. A destination holds no timer, reads no clock and loads nothing: the queue does.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mailmoat._native import AttemptRow, Message, Outcome, Partition
    from mailmoat.delivery.attempt import AttemptRecord
    from mailmoat.delivery.job import Job
    from mailmoat.delivery.offers import Learned
    from mailmoat.delivery.route import Route
    from mailmoat.delivery.transport import Transport

ACTIVE_PER_CONNECTION: Final = 8
"""Messages in memory for each connection a worker may have to the next hop."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
"""Seconds between two attempts to reach a next hop that is down."""


class Owner(Protocol):
    """The queue, as its entries see it."""

    def put(self, entry: QueueEntry) -> None:
        """Add an entry that is due."""

    def loaded(self, entry: QueueEntry, error: str | None, message: Message | None) -> None:
        """Take the message that the spool has loaded, or the failure."""

    def damaged(self, entry: QueueEntry, reason: str) -> None:
        """Take it that what is stored of the message is damaged."""

    def finished(self, entry: QueueEntry, job: Job, outcomes: list[Outcome], record: AttemptRecord) -> None:
        """Take the end of an attempt."""


class QueueEntry:
    """The recipients of a message that go to one destination, known by the queue id alone while they wait; an `Attempt` meanwhile."""

    __slots__ = ("arrival", "attempts", "destination", "due_ms", "job", "partition", "queue", "queue_id", "siblings")

    def __init__(
        self,
        queue: Owner,
        destination: Destination,
        *,
        partition: Partition,
        queue_id: str,
        arrival: int,
        due_ms: int,
        attempts: int,
    ) -> None:
        self.queue = queue
        self.destination = destination
        self.partition = partition
        self.queue_id = queue_id
        self.arrival = arrival
        self.due_ms = due_ms
        self.attempts = attempts
        self.siblings: Siblings | None = None
        """The entries of the message's groups; None where this group is all that is known of."""
        self.job: Job | None = None
        """While the message is in memory."""

    def twin(self, destination: Destination) -> QueueEntry:
        """Return an entry of the same message at another destination."""
        return QueueEntry(
            self.queue,
            destination,
            partition=self.partition,
            queue_id=self.queue_id,
            arrival=self.arrival,
            due_ms=self.due_ms,
            attempts=self.attempts,
        )

    def settle(
        self, outcomes: list[Outcome], *, attempt: AttemptRow | None = None, reported: Sequence[int] = ()
    ) -> None:
        """Store what became of recipients; `attempt` is the one that deferred some, `reported` are those of whose delay there was a report."""
        self.partition.settle(
            None,
            self.queue_id,
            outcomes,
            due=self.due_ms,
            attempts=self.attempts,
            next_hop=self.destination.name,
            attempt=attempt,
            reported=list(reported),
        )

    def due(self) -> None:
        """Begin the next attempt when its time has come."""
        self.queue.put(self)

    def done(self, error: str | None, message: Message | None) -> None:
        """Take the message that the spool has loaded, or the failure."""
        self.queue.loaded(self, error, message)

    def damaged(self, reason: str) -> None:
        """Take it that what is stored of the message is damaged."""
        self.queue.damaged(self, reason)

    @property
    def _running(self) -> Job:
        if self.job is None:
            raise RuntimeError("no message is in memory")
        return self.job

    @property
    def message(self) -> Message:
        """What is sent."""
        return self._running.message

    @property
    def indexes(self) -> list[int]:
        """Whom it is sent to."""
        return self._running.indexes

    def finished(self, outcomes: list[Outcome], record: AttemptRecord) -> None:
        """Take the outcomes of the attempt from the transport."""
        self.queue.finished(self, self._running, outcomes, record)


Siblings: TypeAlias = "dict[Destination, QueueEntry | None]"
"""By destination; None for a group that has ended."""


def join(entries: list[QueueEntry]) -> None:
    """Connect the entries of one message, if there are several."""
    if len(entries) > 1:
        siblings: Siblings = {entry.destination: entry for entry in entries}
        for entry in entries:
            entry.siblings = siblings


class Destination:
    """One next hop: its transport, its queue entries that are due, and its state."""

    def __init__(self, name: str, transport: Transport, route: Route, learned: Learned | None = None) -> None:
        self.name = name
        """By which the spool remembers where recipients were tried: the next hop in its written form, and what distinguishes this from
        other destinations there; empty for none."""
        self.route = route
        """What holds for its messages."""
        self.transport = transport
        self.learned = learned
        """What it offers; None where nothing is to be learned."""
        self.ready: deque[QueueEntry] = deque()
        """Those that are due and wait for their turn, in the order they became due."""
        self.stranded: dict[QueueEntry, int] = {}
        """Those deferred because the next hop was away or went away, or may have been, with the keys of their timers."""
        self.most = max(1, route.connections * ACTIVE_PER_CONNECTION)
        """Messages for it in memory at the same time."""
        self.active = 0
        """Messages being loaded, tried or settled."""
        self.rest = 0
        """The key of the timer that ends its pause; 0 when it is not paused."""
        self._pause = 0.0

    @property
    def has_room(self) -> bool:
        """Another message may be loaded: one while it is not known whether the next hop is back, none while it rests."""
        return not self.rest and self.active < (1 if self._pause else self.most)

    @property
    def away(self) -> bool:
        """The next hop could not be reached when last tried."""
        return bool(self._pause)

    @property
    def unasked(self) -> bool:
        """The next hop is away, some wait for it, and none of them is due: it has to be asked without a message."""
        return bool(self._pause and self.stranded) and not (self.rest or self.ready or self.active)

    def add(self, entry: QueueEntry) -> None:
        """Put an entry that is due behind the others; one that was stranded in front, where the oldest are given up for age."""
        if self.stranded.pop(entry, None) is None:
            self.ready.append(entry)
        else:
            self.ready.appendleft(entry)

    def add_first(self, entries: Iterable[QueueEntry]) -> None:
        """Put entries that are due before the others, in this order."""
        self.ready.extendleft(reversed(list(entries)))

    def reached(self) -> dict[QueueEntry, int]:
        """End the outage because the next hop answers; return the entries that it deferred."""
        self._pause = 0.0
        stranded, self.stranded = self.stranded, {}
        return stranded

    def unreachable(self) -> float:
        """Return the seconds of the pause that begins because the next hop cannot be reached."""
        self._pause = min(self._pause * 2, LONGEST_PAUSE) if self._pause else FIRST_PAUSE
        return self._pause
