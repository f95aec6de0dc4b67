"""How many messages a worker has in memory for delivery, and which is loaded next.

Promises: never more for one destination than it allows, and never more for all together than the bound, except that a destination with
nothing in memory may always have one. When the bound is reached, the destinations that wait take turns, one message each. After
`close` nothing is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.delivery.destination import Destination, QueueEntry

FULL_DESTINATIONS: Final = 4
"""Destinations that may all have as many messages in memory as they allow; more of them share that room."""


class Room:
    """The room of one worker; `load` is called with each entry that gets a place."""

    def __init__(self, most: int, load: Callable[[QueueEntry], None]) -> None:
        self._most = most
        self._load = load
        # With entries that are due and room of their own, which the bound keeps waiting; an ordered set.
        self._crowded: dict[Destination, None] = {}
        self.taken = 0
        self.closed = False

    def has(self, destination: Destination) -> bool:
        """Return whether another message may be in memory for a destination."""
        return destination.has_room and not self.closed and (self.taken < self._most or not destination.active)

    def take(self, destination: Destination) -> None:
        """Count a message that is in memory for a destination."""
        self.taken += 1
        destination.active += 1

    def release(self, destination: Destination) -> None:
        """Count one less, and load what finds room now."""
        self.taken -= 1
        destination.active -= 1
        if self._crowded:
            self._share()  # before its own: it had its turn
        self.fill(destination)

    def fill(self, destination: Destination) -> None:
        """Load what is due for a destination, as far as there is room."""
        while destination.ready and self.has(destination):
            self.load_next(destination)
        if destination.ready and destination.has_room and not self.closed:
            self._crowded[destination] = None

    def load_next(self, destination: Destination) -> None:
        """Load the first of those that are due, whether there is room or not."""
        entry = destination.ready.popleft()
        self.take(destination)
        self._load(entry)

    def close(self) -> None:
        """Load nothing more."""
        self.closed = True

    def _share(self) -> None:
        while self._crowded and self.taken < self._most:
            destination = next(iter(self._crowded))
            del self._crowded[destination]
            if destination.ready and self.has(destination):
                self.load_next(destination)
                if destination.ready:
                    self._crowded[destination] = None
