"""The queue entries for a partition whose owner is gone, made from what its spool says of each group.

A group is at the destination where it was last tried, or else at the default one; only loading the message shows where its recipients
go now, and the queue then parts it. Lazy, and never fails: a partition may have a million messages.
"""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from mailmoat.delivery.destination import QueueEntry, join

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mailmoat._native import Partition, Scheduled
    from mailmoat.delivery.destination import Destination, Owner


def entries(
    owner: Owner,
    partition: Partition,
    schedule: Iterable[Scheduled],
    destinations: Sequence[Destination],
    default: Destination,
) -> Iterator[list[QueueEntry]]:
    """Give the entries of each message in turn: one for each destination, due when the first of its groups is."""
    tried = {destination.name: destination for destination in destinations if destination.name}
    for queue_id, groups in groupby(schedule, attrgetter("queue_id")):
        first: dict[Destination, Scheduled] = {}
        for group in sorted(groups, key=attrgetter("due")):
            first.setdefault(tried.get(group.next_hop, default), group)
        found = [
            QueueEntry(
                owner,
                destination,
                partition=partition,
                queue_id=queue_id,
                arrival=group.arrival,
                due_ms=group.due,
                attempts=group.attempts,
            )
            for destination, group in first.items()
        ]
        join(found)
        yield found
