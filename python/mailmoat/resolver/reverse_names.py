"""The verified names of clients: the name that the address has (PTR) and that has the address (A or AAAA), RFC 8601 3.

Nothing waits for a name: a lookup is started while a session goes on, and its result is there for whoever asks later. Promises: `dns.reverse_time` and `MOST_NAMES` bound a lookup, `MOST_LOOKUPS` how many run at a time, `KEPT` how many
results are kept; a result is kept for `LEAST_TIME` at least, so that an address whose reverse zone does not answer is not looked up for
each of its sessions. A name can be written into a header field or a log line as it is. Raises nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat.net.address import parse
from mailmoat.resolver.answer import Failed, Found
from mailmoat.resolver.protocol import Budget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailmoat.resolver.answer import Kind
    from mailmoat.resolver.protocol import Resolver
    from mailmoat.settings.sections.dns import DnsSettings

MOST_NAMES: Final = 10
"""Names of one address that are verified; the others are left out (as in RFC 7208 4.6.4)."""
MOST_LOOKUPS: Final = 100
"""At a time, a worker. Beyond them an address has no known name: clients without number must not use up what Sender ID may ask."""
KEPT: Final = 4096
"""Addresses whose result is kept."""
LEAST_TIME: Final = 60.0
LONGEST: Final = 253
"""Characters of a name in text form (RFC 1035 2.3.4)."""

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST: Final = re.compile(rf"(?:{_LABEL}\.)*(?![0-9]+\Z){_LABEL}")


class Iprev(StrEnum):
    """Results of the method of that name (RFC 8601 2.7.3)."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    TEMP_ERROR = "temperror"
    PERM_ERROR = "permerror"


@dataclass(frozen=True, slots=True)
class ReverseName:
    """What is known of one address."""

    result: Iprev
    name: str = ""
    """In lower case; empty unless `result` is PASS."""


NO_POINTER: Final = ReverseName(Iprev.PERM_ERROR)
NOT_CONFIRMED: Final = ReverseName(Iprev.FAIL)
NOT_ANSWERED: Final = ReverseName(Iprev.TEMP_ERROR)


class ReverseNames:
    """The names of one worker's clients."""

    def __init__(self, resolver: Resolver, settings: DnsSettings) -> None:
        self._resolver = resolver
        self._settings = settings
        self._kept: OrderedDict[str, tuple[float, ReverseName]] = OrderedDict()
        self._lookups: dict[str, asyncio.Task[None]] = {}

    def known(self, address: str) -> ReverseName | None:
        """Return what is known of an address in text form without zone; None while nothing is."""
        kept = self._kept.get(address)
        return kept[1] if kept is not None and clock.monotonic() < kept[0] else None

    def look_up(self, address: str, loop: asyncio.AbstractEventLoop) -> None:
        """Find out, unless that is being done or too much is; `known` has the result then."""
        if address and address not in self._lookups and len(self._lookups) < MOST_LOOKUPS:
            task = self._lookups[address] = loop.create_task(self._look_up(address))
            task.add_done_callback(partial(self._ended, address))

    async def close(self) -> None:
        """End all lookups."""
        tasks = list(self._lookups.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, address: str, _task: asyncio.Task[None]) -> None:
        del self._lookups[address]

    async def _look_up(self, address: str) -> None:
        budget = Budget(1 + MOST_NAMES, self._settings.reverse_time, address)
        pointer = await self._resolver.query(parse(address).reverse_pointer, "PTR", budget)
        if isinstance(pointer, Failed):
            self._keep(address, NOT_ANSWERED, 0)
        elif isinstance(pointer, Found):
            found, ttl = await self._confirm(address, host_names(pointer), budget)
            self._keep(address, found, min(ttl, pointer.ttl))
        else:
            self._keep(address, NO_POINTER, min(pointer.ttl, self._settings.negative_time))

    async def _confirm(self, address: str, names: Iterator[str], budget: Budget) -> tuple[ReverseName, float]:
        """Return the first of the names that has the address, and how long that holds."""
        wanted, kind = parse(address), _kind(address)
        found, ttl = NOT_CONFIRMED, self._settings.negative_time
        for name in names:
            answer = await self._resolver.query(name, kind, budget)
            if isinstance(answer, Failed):
                found, ttl = NOT_ANSWERED, 0
            elif isinstance(answer, Found) and any(parse(str(record)) == wanted for record in answer.records):
                return ReverseName(Iprev.PASS, name), answer.ttl
        return found, ttl

    def _keep(self, address: str, found: ReverseName, ttl: float) -> None:
        seconds = max(LEAST_TIME, min(ttl, self._settings.cache_time))
        self._kept.pop(address, None)
        self._kept[address] = (clock.monotonic() + seconds, found)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)


def _kind(address: str) -> Kind:
    return "AAAA" if ":" in address else "A"


def host_names(pointer: Found) -> Iterator[str]:
    """Yield the first names of a PTR answer, without those that are no names of hosts (RFC 1123 2.1): a stranger chose them."""
    for record in pointer.records[:MOST_NAMES]:
        name = str(record)
        if len(name) <= LONGEST and _HOST.fullmatch(name):
            yield name
