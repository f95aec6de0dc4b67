"""The cache of answers, limited by their TTL and by memory. Never waits, never fails.

The room is octets of this process's memory, objects and tables included, as the interpreter counts them (`memory`).
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Final, TypeAlias

from mailmoat.resolver.answer import Answer, Found

Key: TypeAlias = tuple[str, str]
"""A normal name and a kind."""

_PLACE: Final = 256
"""An entry besides name and answer: tuples and numbers, and its places in the ordered table, part of which is empty."""


class Cache:
    """The least recently used goes first."""

    def __init__(self, octets: int) -> None:
        self._room = octets
        self._kept: OrderedDict[Key, tuple[float, int, Answer]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key, now: float) -> Answer | None:
        """Return the cached value if it is still valid."""
        found = self._kept.get(key)
        if found is None:
            return None
        if found[0] <= now:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return found[2]

    def put(self, key: Key, answer: Answer, until: float) -> None:
        """Keep an answer until then."""
        if key in self._kept:
            self._drop(key)
        size = _PLACE + memory(key[0]) + memory_of(answer)
        self._kept[key] = (until, size, answer)
        self._room -= size
        while self._room < 0:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        self._room += self._kept.pop(key)[1]


def memory_of(answer: Answer) -> int:
    """Return the octets of memory that an answer takes."""
    return memory(answer) + (memory(answer.records) + memory(answer.alias) if isinstance(answer, Found) else 0)


def memory(value: object) -> int:
    """Return the octets of memory that a value takes, with what is in it when it is a tuple; allocated by sixteens."""
    size = (sys.getsizeof(value) + 15) & ~15
    return size + sum(map(memory, value)) if isinstance(value, tuple) else size
