"""The partitions whose messages a worker delivers: its own, and those it has adopted that are not empty yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailmoat._native import Backlog, Partition
    from mailmoat.metrics import Metrics


class Partitions:
    """The partitions of one worker, by tag; each notes in the shared memory which of its messages are in memory."""

    def __init__(self, own: Partition, backlog: Backlog, metrics: Metrics) -> None:
        self._own = own
        self._backlog = backlog
        self._metrics = metrics
        self._by_tag: dict[str, Partition] = {}
        self.add(own)

    def add(self, partition: Partition) -> None:
        """Take one over."""
        self._by_tag[partition.tag] = partition
        self._backlog.add_partition(partition.tag)
        partition.note_in(self._metrics.shared, self._metrics.slot)

    def __getitem__(self, tag: str) -> Partition:
        """Return the one with this tag."""
        return self._by_tag[tag]

    def of(self, queue_id: str) -> Partition | None:
        """Return the one that a message is in, by its queue id; None for one that is not of this worker."""
        return next((one for tag, one in self._by_tag.items() if queue_id.startswith(tag)), None)

    def drop_empty(self) -> None:
        """Forget those that were adopted and are empty."""
        for tag, partition in tuple(self._by_tag.items()):
            if not partition.count and partition is not self._own:
                del self._by_tag[tag]
                self._backlog.drop_partition(tag)
