"""Answers, kept as long as they may be and no more of them than there is room for. Never waits, never fails.

An answer of more than a KiB counts as many entries as it has KiB: the bound holds for memory as well as for number.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from mailmoat.resolver.answer import Answer

Key: TypeAlias = tuple[str, str]
"""A normal name and a kind."""

_UNIT: Final = 1024


class Cache:
    """The least recently used goes first."""

    def __init__(self, entries: int) -> None:
        self._room = entries
        self._kept: OrderedDict[Key, tuple[float, int, Answer]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key, now: float) -> Answer | None:
        """What is known and still true."""
        found = self._kept.get(key)
        if found is None:
            return None
        if found[0] <= now:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return found[2]

    def put(self, key: Key, answer: Answer, until: float, octets: int) -> None:
        """Keep an answer that came in a message of so many octets."""
        if key in self._kept:
            self._drop(key)
        size = 1 + octets // _UNIT
        self._kept[key] = (until, size, answer)
        self._room -= size
        while self._room < 0:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        self._room += self._kept.pop(key)[1]
