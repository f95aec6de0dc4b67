"""The recipients of a message that go to one destination while the message is in memory: what a transport is given to try.

While such a group waits it is not an object: the backlog has it, in some fifty octets (`schedule.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat._native import AttemptRow, Message, Outcome, Partition, Waiting
    from mailmoat.delivery.attempt import AttemptRecord
    from mailmoat.delivery.destination import Destination
    from mailmoat.delivery.job import Job


class Owner(Protocol):
    """The queue, as its entries see it."""

    def loaded(self, entry: QueueEntry, error: str | None, message: Message | None) -> None:
        """Take the message that the spool has loaded, or the failure."""

    def damaged(self, entry: QueueEntry, reason: str) -> None:
        """Take it that what is stored of the message is damaged."""

    def finished(self, entry: QueueEntry, job: Job, outcomes: list[Outcome], record: AttemptRecord) -> None:
        """Take the end of an attempt."""


class QueueEntry:
    """A group of recipients in memory; an `Attempt` as soon as its job has begun."""

    __slots__ = ("big", "delayed", "destination", "fresh", "job", "parted", "partition", "queue", "queue_id")

    def __init__(
        self,
        queue: Owner,
        destination: Destination,
        partition: Partition,
        queue_id: str,
        *,
        fresh: bool = True,
        big: bool = False,
        parted: bool = False,
        delayed: bool = False,
    ) -> None:
        self.queue = queue
        self.destination = destination
        self.partition = partition
        self.queue_id = queue_id
        self.fresh = fresh
        """It was never tried."""
        self.big = big
        """It counts as big: see `Room`."""
        self.parted = parted
        """The message has groups at other destinations, or had."""
        self.delayed = delayed
        """The delay was reported, or no such report is wanted."""
        self.job: Job | None = None
        """From the time when the message is in memory."""

    def twin(self, destination: Destination) -> QueueEntry:
        """Return an entry of the same message at another destination."""
        return QueueEntry(
            self.queue,
            destination,
            self.partition,
            self.queue_id,
            fresh=self.fresh,
            big=self.big,
            parted=True,
            delayed=self.delayed,
        )

    def settle(
        self,
        job: Job,
        outcomes: list[Outcome],
        due_ms: int,
        attempt: AttemptRow | None = None,
        reported: Sequence[int] = (),
    ) -> None:
        """Store what became of recipients; `attempt` is the one that deferred some, `reported` are those of whose delay there was a report."""
        self.partition.settle(
            None,
            self.queue_id,
            outcomes,
            due=due_ms,
            attempts=job.attempts,
            next_hop=self.destination.name,
            attempt=attempt,
            reported=list(reported),
        )

    def end(self, job: Job, outcomes: list[Outcome]) -> None:
        """Remove the message if nobody else is open; otherwise store what became of these recipients, which is their end."""
        due = job.message.arrival
        self.partition.end(self.queue_id, outcomes, due=due, attempts=job.attempts, next_hop=self.destination.name)

    def done(self, error: str | None, message: Message | None) -> None:
        """Take the message that the spool has loaded, or the failure."""
        self.queue.loaded(self, error, message)

    @classmethod
    def of(cls, queue: Owner, destination: Destination, partition: Partition, waiting: Waiting) -> QueueEntry:
        """Return the entry for a group that waited."""
        return cls(
            queue,
            destination,
            partition,
            waiting.queue_id,
            fresh=waiting.fresh,
            big=waiting.big,
            parted=waiting.parted,
            delayed=waiting.delayed,
        )

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
