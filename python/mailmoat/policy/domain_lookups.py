"""Whether a domain can exist: looked up ahead, and waited for no longer than its time.

`begin` starts a lookup and returns at once; `standing` returns what is known, or an awaitable that ends when the time since the lookup began is
up. The same domain is looked up once at a time; the resolver has the cache, the shares of clients and the circuit breakers. What the DNS does
not answer is UNKNOWN, never ABSENT. Raises only CancelledError.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Final

from mailmoat.resolver import Budget, Failed, Failure, Found, NoData, NoName

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from mailmoat.resolver import Answer, Kind, Resolver

MOST_AHEAD: Final = 200
"""Lookups that run ahead at a time, a worker; more begin when they are waited for."""
NULL_MX: Final = ""
"""The one name in a null MX record (RFC 7505 3)."""


class Standing(Enum):
    """What the DNS says of a domain."""

    EXISTS = "it has a record of the kinds that were looked up"
    NO_MAIL = "it has a null MX and accepts no mail"
    NO_RECORDS = "it exists and has no such record"
    ABSENT = "it does not exist"
    UNKNOWN = "the DNS gave no answer"


class DomainLookups:
    """Looks up records of these kinds, in this order, until there is one; `seconds` is the time for all of them."""

    def __init__(self, resolver: Resolver, kinds: tuple[Kind, ...], seconds: float) -> None:
        self._resolver = resolver
        self._kinds = kinds
        self._seconds = seconds
        self._ahead: dict[str, asyncio.Task[Standing]] = {}

    def begin(self, domain: str, client: str) -> None:
        """Start to look up a normalised domain for the client with this address, unless it is known or too much is looked up."""
        if domain in self._ahead or len(self._ahead) >= MOST_AHEAD or self._known(domain) is not None:
            return
        task = self._ahead[domain] = asyncio.get_running_loop().create_task(self._look_up(domain, client))
        task.add_done_callback(lambda _: self._ahead.pop(domain, None))

    def standing(self, domain: str, client: str) -> Standing | Awaitable[Standing]:
        """Return what the DNS says of a normalised domain; an awaitable when it has to be asked."""
        known = self._known(domain)
        if known is not None:
            return known
        ahead = self._ahead.get(domain)
        return asyncio.shield(ahead) if ahead is not None else self._look_up(domain, client)

    def _known(self, domain: str) -> Standing | None:
        """Return what the resolver can say without a query; None when it has to ask."""
        standing = Standing.NO_RECORDS
        for kind in self._kinds:
            answer = self._resolver.cached(domain, kind)
            if answer is None:
                return None
            said = _meaning(kind, answer)
            if said not in (Standing.NO_RECORDS, Standing.UNKNOWN):
                return said
            standing = _worse(standing, said)
        return standing

    async def _look_up(self, domain: str, client: str) -> Standing:
        budget = Budget(len(self._kinds), self._seconds, client)
        standing = Standing.NO_RECORDS
        for kind in self._kinds:
            said = _meaning(kind, await self._resolver.query(domain, kind, budget))
            if said not in (Standing.NO_RECORDS, Standing.UNKNOWN):
                return said
            standing = _worse(standing, said)
        return standing


def _meaning(kind: Kind, answer: Answer) -> Standing:
    """Return what one answer says. That there are no records of one kind says nothing about the others, unless the name does not exist."""
    match answer:
        case Found(records=records) if kind == "MX" and all(record[1] == NULL_MX for record in records):
            return Standing.NO_MAIL
        case Found():
            return Standing.EXISTS
        case NoName() | Failed(reason=Failure.MALFORMED):
            return Standing.ABSENT
        case NoData():
            return Standing.NO_RECORDS
        case Failed():
            return Standing.UNKNOWN


def _worse(one: Standing, other: Standing) -> Standing:
    return Standing.UNKNOWN if Standing.UNKNOWN in (one, other) else Standing.NO_RECORDS
