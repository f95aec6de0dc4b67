"""How many messages a worker has in memory for delivery, and which is loaded next.

Promises:

* Never more for one destination than it allows, nor than it leaves free, except that a destination with nothing in memory may always have
  one. So the bound for all together is never reached by a few: one takes half of it at most, four that are slow leave a fifth, and one
  more finds room for as many as are free. Where destinations wait for room, they take turns, one message each.
* Fresh messages never wait behind a backlog. Those tried before have at most a quarter of the room of their destination, and where both
  wait for room, they take turns (the rule of Postfix' qmgr for its incoming and deferred queues). A fresh message thus waits for
  one other at most, and a backlog goes on in any flood.
* Big messages never block small ones: they have at most a quarter of a destination's connections, and take turns with the small.

After `close` nothing is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat._native import Waiting
    from mailmoat.delivery.destination import Destination
    from mailmoat.delivery.entry import QueueEntry
    from mailmoat.delivery.schedule import Schedule

FULL_DESTINATIONS: Final = 4
"""The room is that of so many destinations which have as many messages in memory as they allow."""
TURNS: Final = 4
"""Destinations that wait for room and are looked at when some is freed: thousands may wait, and most of them have what they may have."""
BIG: Final = 1 << 20
"""Octets from which on a message is big."""


class Room:
    """The room of one worker; `load` is called with each group that gets a place, and takes it."""

    def __init__(self, most: int, schedule: Schedule, load: Callable[[Destination, Waiting], None]) -> None:
        self._most = most
        self._schedule = schedule
        self._load = load
        # With groups that are due and room of their own, which the bound keeps waiting; an ordered set.
        self._crowded: dict[Destination, None] = {}
        # By queue id, where groups of the message in memory go.
        self._entries: dict[str, tuple[Destination, ...]] = {}
        self.taken = 0
        self.closed = False
        self._paused = False

    def has(self, destination: Destination) -> bool:
        """Return whether another message may be in memory for a destination."""
        return (
            destination.active < destination.limit
            and not self.closed
            and not self._paused
            and (destination.active < self._most - self.taken or not destination.active)
        )

    def of(self, queue_id: str) -> tuple[Destination, ...]:
        """Return the destinations of the groups of a message that are in memory."""
        return self._entries.get(queue_id, ())

    def take(self, entry: QueueEntry) -> None:
        """Count an entry in memory."""
        destination, queue_id = entry.destination, entry.queue_id
        self.taken += 1
        destination.active += 1
        destination.old += not entry.fresh
        destination.big += entry.big
        self._entries[queue_id] = (*self._entries.get(queue_id, ()), destination)

    def release(self, entry: QueueEntry) -> None:
        """Count one less, and load what finds room now."""
        destination = entry.destination
        self.taken -= 1
        destination.active -= 1
        destination.old -= not entry.fresh
        destination.big -= entry.big
        others = self._entries.pop(entry.queue_id)
        if len(others) > 1:
            self._entries[entry.queue_id] = tuple(one for one in others if one is not destination)
        if self._crowded:
            self._share()  # before its own: it had its turn
        if destination.ready:
            self.fill(destination)

    def fill(self, destination: Destination) -> None:
        """Load what is due for a destination, as far as there is room."""
        while destination.ready and self.has(destination) and self._load_next(destination):
            pass
        if destination.ready and destination.active < destination.limit and not self.has(destination):
            self._crowded[destination] = None

    def pause(self) -> None:
        """Give no place away for now."""
        self._paused = True

    def resume(self) -> None:
        """Give places away again, first to those that have waited."""
        self._paused = False
        waiting, self._crowded = self._crowded, {}
        for destination in waiting:
            self.fill(destination)

    def close(self) -> None:
        """Load nothing more."""
        self.closed = True

    def _load_next(self, destination: Destination) -> bool:
        old, big = destination.old < destination.most_old, destination.big < destination.most_big
        waiting = self._schedule.take(destination, fresh=True, old=old, big=big)
        if waiting is None:
            return False
        self._load(destination, waiting)
        return True

    def _share(self) -> None:
        """Give a place to each of the next that wait, where it may have one."""
        for _ in range(min(TURNS, len(self._crowded))):
            destination = next(iter(self._crowded))
            del self._crowded[destination]
            if not destination.ready or destination.active >= destination.limit:
                continue
            if self.has(destination) and not self._load_next(destination):
                continue  # what is due waits for another of its own kind to end
            if destination.ready:
                self._crowded[destination] = None
