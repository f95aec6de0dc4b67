"""The cache of the DNS: answers by name and kind, limited by their TTL and by memory. Never waits, never fails."""

from __future__ import annotations

from typing import TypeAlias

from mailmoat.resolver.answer import Answer, Found
from mailmoat.upstream import cache
from mailmoat.upstream.cache import memory

Key: TypeAlias = tuple[str, str]
"""A normal name and a kind."""


class Cache(cache.Cache[Key, Answer]):
    """The least recently used goes first; `octets` are those of memory."""

    def __init__(self, octets: int) -> None:
        super().__init__(octets, _size)


def memory_of(answer: Answer) -> int:
    """Return the octets of memory that an answer takes."""
    return memory(answer) + (memory(answer.records) + memory(answer.alias) if isinstance(answer, Found) else 0)


def _size(key: Key, answer: Answer) -> int:
    return memory(key[0]) + memory_of(answer)
