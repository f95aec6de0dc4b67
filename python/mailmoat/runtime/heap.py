"""After a flood, the memory it took goes back to the system: the C library keeps free memory between blocks that are still in use.

Small objects come from there, too (`allocator`); where they do not, the interpreter keeps pieces of 1 MiB, and one object holds a piece. So
whatever has grown with the flood gives back first what it needs no longer: `give_back`.

Trimming reads the whole heap, so it is done only after enough memory was freed. Owned by a worker; never fails.

`share` is for a process that forks others.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Final

from mailmoat import _native

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mailmoat._native import SessionConfig

FREED: Final = 8 << 20
"""Octets given back by content and connections since the last time, from which on trimming pays."""
FREED_OF_MOST: Final = 512 << 10
"""The same where half of all or more was given back: else what is left of a flood would stay for ever."""
CONNECTION_OCTETS: Final = 4096 + _native.ALWAYS_IN_MEMORY
"""What a connection takes at most, roughly, beside the budget for content."""


def share() -> None:
    """Let processes to come share the memory of what exists now: collecting it there would copy its pages, and so would giving back free objects."""
    gc.collect()
    gc.freeze()


class Heap:
    """What one worker's connections and their content have taken."""

    def __init__(self, give_back: Sequence[Callable[[], None]]) -> None:
        self._give_back = give_back
        self._most_connections = 0
        self._octets = 0
        self._again = False

    def opened(self, connections: int) -> None:
        """Count a new connection; this many are open."""
        self._most_connections = max(self._most_connections, connections)

    def tick(self, config: SessionConfig, connections: int) -> None:
        """Check once a second; this many connections are open; `config` counts their content."""
        octets = config.content_in_memory + connections * CONNECTION_OCTETS
        most = config.take_most_in_memory() + self._most_connections * CONNECTION_OCTETS
        self._octets = max(self._octets, most, octets)
        self._most_connections = connections
        freed = self._octets - octets
        again, self._again = self._again, freed >= FREED or (freed >= FREED_OF_MOST and freed >= octets)
        if self._again:
            self._octets = octets
        if self._again or again:  # a connection that is closed gives back a part of its memory a moment later only
            for give_back in self._give_back:
                give_back()
            if freed >= octets:
                gc.collect()  # empties Python's lists of free objects: one left in each of its arenas keeps them all
            _native.trim_heap()
