"""What an operator does with messages in the queue: retry, take out, put in.

What is in memory is left to end its attempt first. A message that was taken out meanwhile is not tried again after that, but what became of its
recipients is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mailmoat._native import Partition
    from mailmoat.delivery.outages import Outages
    from mailmoat.delivery.partitions import Partitions
    from mailmoat.delivery.room import Room
    from mailmoat.delivery.schedule import Schedule
    from mailmoat.delivery.suspects import Suspects


class Steering:
    """What an operator does in the queue of one worker; `put` is called with a message that is to be tried."""

    def __init__(
        self,
        schedule: Schedule,
        room: Room,
        outages: Outages,
        suspects: Suspects,
        partitions: Partitions,
        *,
        put: Callable[[Partition, str], None],
    ) -> None:
        self._schedule = schedule
        self._room = room
        self._outages = outages
        self._suspects = suspects
        self._partitions = partitions
        self._put = put
        self.forgotten: set[str] = set()
        """Messages that were taken out while they were in memory, and still are."""

    def retry(self, queue_ids: Iterable[str]) -> int:
        """Make messages due that wait, and end the pauses of their destinations; return how many there were."""
        found = 0
        for queue_id in queue_ids:
            destinations = self._schedule.hurry(queue_id)
            found += bool(destinations)
            for destination in destinations:
                self._outages.rested(destination)
        return found

    def forget(self, queue_id: str) -> bool:
        """Take a message out because it is held or removed; return False while it is in memory."""
        self._schedule.forget(queue_id)
        self._suspects.forget(queue_id)
        if not self._room.of(queue_id):
            return True
        self.forgotten.add(queue_id)
        return False

    def add(self, queue_id: str) -> bool:
        """Put a message in that is in the spool, due now; return False for one of another worker's partition."""
        partition = self._partitions.of(queue_id)
        if partition is None:
            return False
        self.forgotten.discard(queue_id)
        if not self._room.of(queue_id) and not self._schedule.has(queue_id):
            self._put(partition, queue_id)
        return True

    def waits(self, queue_id: str) -> bool:
        """Return whether a message is to be tried or in memory; one that is held is neither."""
        return self._schedule.has(queue_id) or bool(self._room.of(queue_id)) or self._suspects.has(queue_id)
