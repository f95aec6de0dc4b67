"""A cache of answers, each kept until its time, limited by memory. Never waits, never fails.

The room is octets of this process's memory, objects and tables included, as the interpreter counts them (`memory`).
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

K = TypeVar("K", bound="Hashable")
A = TypeVar("A")

_PLACE: Final = 256
"""An entry besides key and answer: tuples and numbers, and its places in the ordered table, part of which is empty."""


class Cache(Generic[K, A]):
    """The least recently used goes first."""

    def __init__(self, octets: int, size_of: Callable[[K, A], int]) -> None:
        """Make an empty one; `size_of` gives the octets of memory of a key with its answer."""
        self._room = octets
        self._size_of = size_of
        self._kept: OrderedDict[K, tuple[float, int, A]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K, now: float) -> A | None:
        """Return the cached value if it is still valid."""
        found = self._kept.get(key)
        if found is None:
            return None
        if found[0] <= now:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return found[2]

    def put(self, key: K, answer: A, until: float) -> None:
        """Keep an answer until then."""
        if key in self._kept:
            self._drop(key)
        size = _PLACE + self._size_of(key, answer)
        self._kept[key] = (until, size, answer)
        self._room -= size
        while self._room < 0:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: K) -> None:
        self._room += self._kept.pop(key)[1]


def memory(value: object) -> int:
    """Return the octets of memory that a value takes, with what is in it when it is a tuple; allocated by sixteens."""
    size = (sys.getsizeof(value) + 15) & ~15
    return size + sum(map(memory, value)) if isinstance(value, tuple) else size
