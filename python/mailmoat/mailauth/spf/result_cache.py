"""Results of checks, kept as long as the resolver's cache still has every answer they are based on.

A check is a pure function of its request and the DNS's answers, so its result is valid until one of these changes: the
resolver's cache is compared each time, and there is no other time to live. A host that sends many messages of one domain
is checked once. Limited in octets of memory: the least recently used are removed first, and results with long answers are not kept. Never queries,
never waits.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, TypeAlias

from mailmoat.resolver.cache import memory_of
from mailmoat.upstream.cache import memory

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mailmoat.mailauth.results import CheckRequest, Result
    from mailmoat.resolver import Answer, Kind, Resolver

    Answers: TypeAlias = Mapping[tuple[str, Kind], Answer]

ROOM: Final = 8 << 20
"""Octets of memory, with all that the results rest on: an answer stays as long as a result does, when the resolver forgot it, too."""
LONGEST: Final = 8192
"""Octets of memory under one result."""
_PLACE: Final = 256
"""An entry besides its texts: the result, tuples and a number, and its places in the ordered table, part of which is empty."""
_NAME: Final = 80
"""A tuple of a name, a kind and an answer, and its place."""

_PERSONAL: Final = frozenset("slh")
"""Macro letters that speak of the mailbox or the HELO name (RFC 7208 7.2)."""
_FLEETING: Final = "t"


class ResultCache:
    """The results of one checker."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, ...], tuple[Result, tuple[tuple[str, Kind, Answer], ...], int]] = (
            OrderedDict()
        )
        self._room = ROOM

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, request: CheckRequest, domain: str, resolver: Resolver) -> Result | None:
        """Return the result of an equal request, were it of another mailbox as long as no record made a difference of that."""
        for key in (_of_domain(request, domain), _of_mailbox(request, domain)):
            found = self._kept.get(key)
            if found is None:
                continue
            result, answers, _ = found
            if all(resolver.cached(name, kind) is answer for name, kind, answer in answers):
                self._kept.move_to_end(key)
                return result
            self._drop(key)
        return None

    def put(
        self, request: CheckRequest, domain: str, letters: Collection[str], answers: Answers, result: Result
    ) -> None:
        """Keep a result that rests on these answers and on the values of these macro letters."""
        if _FLEETING in letters:
            return
        under = tuple((name, kind, answer) for (name, kind), answer in answers.items())
        size = sum(_NAME + memory(name) + memory_of(answer) for name, _, answer in under)
        if size > LONGEST:
            return
        key = _of_domain(request, domain) if _PERSONAL.isdisjoint(letters) else _of_mailbox(request, domain)
        if key in self._kept:
            self._drop(key)
        size += _PLACE + memory((*key, result.explanation, result.mechanism, result.problem))
        self._kept[key] = result, under, size
        self._room -= size
        while self._room < 0:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[str, ...]) -> None:
        self._room += self._kept.pop(key)[2]


def _of_domain(request: CheckRequest, domain: str) -> tuple[str, ...]:
    return request.ip, request.scope, domain


def _of_mailbox(request: CheckRequest, domain: str) -> tuple[str, ...]:
    return request.ip, request.scope, domain, request.mailbox, request.helo_name
