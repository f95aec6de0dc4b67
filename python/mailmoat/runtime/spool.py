"""The spool on the loop: stores messages, notifies each waiter when its operation is done, and announces what was stored.

The partition's writer thread signals an eventfd once a batch; the loop then takes all completions at once. Adopted partitions
are listened to in the same way. Promises: every message that is on disk is announced once, whatever stored it and whatever its waiter
does: delivery listens, so the code that stores a message has nothing else to do. Raises OSError when a partition cannot be made.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from mailmoat import maillog
from mailmoat._native import DamagedMessage, Partition, SealedPartition
from mailmoat.events import Event
from mailmoat.logstream import timestamp
from mailmoat.metrics import (
    PARTITIONS_NEWER,
    QUEUE_MESSAGES,
    SPOOL_ERRORS,
    SPOOL_SPARE,
    WORKERS_SPOOL_HEALTHY,
    Metrics,
)
from mailmoat.runtime import command_notes

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from mailmoat._native import Message
    from mailmoat.runtime.command_notes import CommandNote


class Waiter(Protocol):
    """Who asked the spool for something."""

    def done(self, error: str | None, message: Message | None) -> None:
        """Take the result: done, or `error` says why not."""


class Loading(Waiter, Protocol):
    """Who asked the spool for a message."""

    def damaged(self, reason: str) -> None:
        """Take it that what is stored of the message is damaged; called in place of `done`."""


class SpoolStore:
    """All partitions of this worker; the first is its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, spool_dir: Path, metrics: Metrics) -> None:
        self._loop = loop
        self._spool_dir = str(spool_dir)
        self._metrics = metrics
        self._adopted: list[Partition] = []
        self._sealed: list[SealedPartition] = []
        self._last_error = ""
        self._was_healthy = True
        self.on_stored: Callable[[Message], None] = _nobody_listens
        """Called with each message put into the own partition, after its waiter."""
        self.partition = Partition.create(self._spool_dir)
        self.next_queue_id = self.partition.next_queue_id
        self.directories = self._directories()
        """Where its partitions are, its own first."""
        self._listen(self.partition)

    @property
    def healthy(self) -> bool:
        """Messages can be taken: the last commit of the own partition worked, and it is where it was."""
        healthy = self.partition.healthy
        if healthy != self._was_healthy:
            self._was_healthy = healthy
            self._tell_health()
        return healthy

    @property
    def count(self) -> int:
        """Messages in all partitions."""
        sealed = sum(partition.count or 0 for partition in self._sealed)
        return self.partition.count + sum(partition.count for partition in self._adopted) + sealed

    def owner_of(self, queue_id: str) -> Partition | None:
        """Return the partition that a message is in if it is there; None when it can be in none of this worker."""
        return next((one for one in (self.partition, *self._adopted) if queue_id.startswith(one.tag)), None)

    def publish(self) -> None:
        """Set this worker's gauges of the spool."""
        self._metrics.set(QUEUE_MESSAGES, self.count)
        self._metrics.set(SPOOL_SPARE, self.partition.spare)
        self._metrics.set(WORKERS_SPOOL_HEALTHY, int(self.healthy))
        self._metrics.set(PARTITIONS_NEWER, len(self._sealed))

    def insert(self, waiter: Waiter, message: Message) -> None:
        """Put a message on disk: `waiter.done(error, message)` is called, with error None when it is there; then it is announced."""
        self.partition.insert((waiter, message), message)

    @property
    def adoptable(self) -> bool:
        """Whether `adopt` has something to do; quicker than a thread that finds nothing."""
        return Partition.is_adoptable(self._spool_dir) or command_notes.are_there(self._spool_dir)

    def adopt(self) -> Partition | None:
        """Take over one partition whose owner is gone; blocks on the disk, so call it in a thread.

        One of a later version is kept, so that no worker looks at it again. The same error is not logged again. Before that log what
        commands have done without a worker.
        """
        for note in command_notes.take(Path(self._spool_dir)):
            self._loop.call_soon_threadsafe(_log_command, note)
        try:
            while isinstance(found := Partition.adopt(self._spool_dir), SealedPartition):
                self._sealed.append(found)
                self._not_adopted(found.reason, found.count)
        except OSError as error:
            if str(error) != self._last_error:
                self._not_adopted(str(error))
            self._last_error = str(error)
            return None
        self._last_error = ""
        return found

    def _not_adopted(self, detail: str, messages: int | None = None) -> None:
        """Log it in the loop's thread, whose the log is."""
        log = partial(maillog.event, Event.PARTITION_NOT_ADOPTED, detail=detail, messages=messages)
        self._loop.call_soon_threadsafe(log)

    def keep(self, partition: Partition) -> None:
        """Listen to an adopted partition."""
        self._adopted.append(partition)
        self.directories = self._directories()
        self._listen(partition)

    def drop_empty(self) -> None:
        """Give up adopted partitions that are empty now, which removes them."""
        for partition in [partition for partition in self._adopted if partition.count == 0]:
            self._adopted.remove(partition)
            self.directories = self._directories()
            self._close(partition)

    def close(self) -> None:
        """Commit what waits and give all partitions up."""
        self._sealed.clear()
        for partition in (*self._adopted, self.partition):
            self._close(partition)

    def _directories(self) -> list[Path]:
        return [Path(one.incoming_dir).parent for one in (self.partition, *self._adopted)]

    def _tell_health(self) -> None:
        if self._was_healthy:
            maillog.event(Event.SPOOL_HEALTHY, partition=self.partition.tag)
            return
        gone = f"{self._spool_dir} was moved or deleted: put it back, or restart the server, which makes a new one"
        reason = "the disk is full or cannot be written to" if self.partition.in_place else gone
        maillog.event(Event.SPOOL_UNHEALTHY, partition=self.partition.tag, detail=reason)

    def _listen(self, partition: Partition) -> None:
        def ready() -> None:
            self._tell(partition)

        self._loop.add_reader(partition.descriptor, ready)

    def _tell(self, partition: Partition) -> None:
        for waiter, error, loaded in partition.completions():
            if error is not None:
                self._metrics.add(SPOOL_ERRORS)
            if isinstance(waiter, tuple):
                owner, message = cast("tuple[Waiter, Message]", waiter)
                _notify(owner, error, message)
                if error is None:
                    self._announce(message)
                else:
                    partition.unnote(message.queue_id)
            elif isinstance(loaded, DamagedMessage):
                self._metrics.add(SPOOL_ERRORS)
                _notify_damaged(cast("Loading", waiter), loaded.reason)
            elif waiter is not None:
                _notify(cast("Waiter", waiter), error, loaded)

    def _announce(self, message: Message) -> None:
        try:
            self.on_stored(message)
        except Exception as fault:  # noqa: BLE001 - a mistake with one message must not cost the others their delivery
            maillog.event(Event.DELIVERY_NOT_BEGUN, queue_id=message.queue_id, error=maillog.describe(fault))

    def _close(self, partition: Partition) -> None:
        self._loop.remove_reader(partition.descriptor)
        try:
            partition.close()
        except OSError as error:
            maillog.event(Event.PARTITION_NOT_CLOSED, partition=partition.tag, detail=str(error))
        self._tell(partition)


def _log_command(note: CommandNote) -> None:
    at = timestamp(note.at)
    for queue_id in note.queue_ids:
        maillog.event(Event.QUEUE_COMMAND, queue_id=queue_id, command=note.command, detail=note.detail, at=at)


def _notify(waiter: Waiter, error: str | None, message: Message | None) -> None:
    try:
        waiter.done(error, message)
    except Exception as fault:  # noqa: BLE001 - one waiter's fault must not cost the others their completions
        maillog.event(Event.WAITER_FAILED, error=maillog.describe(fault))


def _notify_damaged(waiter: Loading, reason: str) -> None:
    try:
        waiter.damaged(reason)
    except Exception as fault:  # noqa: BLE001 - as above
        maillog.event(Event.WAITER_FAILED, error=maillog.describe(fault))


def _nobody_listens(_message: Message) -> None:
    """Leave a message to the next owner of the partition."""
