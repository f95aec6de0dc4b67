"""Which names are not queried for a while because their servers do not answer: single names and whole zones.

Where a zone begins is a guess (`names.zone`), and a dead name must not affect its neighbours: those of `uk.com` and `tokyo.jp` have
nothing in common. So unanswered queries in a row only raise a suspicion against the zone, and a query for its SOA decides: a zone
that answers for itself is not dead, whatever is below it.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from mailmoat.resolver import names
from mailmoat.resolver.servers import UNANSWERED, Servers
from mailmoat.upstream.circuit_breaker import CircuitBreakers

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_CHECKS: Final = 16
"""Zones asked for their SOA at a time, each by a socket; a further one has its turn with its next query that nobody answers."""


class Zones:
    """CircuitBreakers of names and of zones, and who finds out about zones."""

    def __init__(self, servers: Servers, failures: int, open_time: float, notify: Callable[[int], None]) -> None:
        self._servers = servers
        self._names = CircuitBreakers(failures, open_time)
        self._zones = CircuitBreakers(failures, open_time)
        self._notify = notify
        """Told how many names and zones are left alone, whenever that may have changed."""
        self._checks: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._names) + len(self._zones)

    def refuses(self, name: str) -> bool:
        """Return whether a query for the name is not to be asked."""
        return self._names.refuses(name) or self._zones.refuses(names.zone(name))

    def asked(self, name: str) -> None:
        """Count a query for it that is sent."""
        self._names.asked(name)
        self._zones.asked(names.zone(name))

    def abandoned(self, name: str) -> None:
        """Record that the query was given up."""
        self._names.abandoned(name)
        self._zones.abandoned(names.zone(name))

    def answered(self, name: str) -> None:
        """Record an answer."""
        self._names.answered(name)
        self._zones.answered(names.zone(name))
        self._notify(self._names.open + self._zones.open)

    def unanswered(self, name: str) -> None:
        """Record a timeout."""
        zone = names.zone(name)
        if self._names.unanswered(name):
            self._names.trip(name)
        suspect = self._zones.unanswered(zone)
        if suspect and zone not in self._checks and len(self._checks) < MOST_CHECKS:
            check = self._checks[zone] = asyncio.create_task(self._find_out(zone))
            check.add_done_callback(partial(self._found_out, zone))
        self._notify(self._names.open + self._zones.open)

    def clear(self) -> None:
        """Forget all of them."""
        for check in self._checks.values():
            check.cancel()
        self._names.clear()
        self._zones.clear()
        self._notify(0)

    async def close(self) -> None:
        """Ask no more."""
        checks = list(self._checks.values())
        self.clear()
        if checks:
            await asyncio.wait(checks)

    async def _find_out(self, zone: str) -> None:
        answer = await self._servers.ask(names.labels(zone) or (), "SOA")
        if answer == UNANSWERED:
            self._zones.trip(zone)
        else:
            self._zones.answered(zone)
        self._notify(self._names.open + self._zones.open)

    def _found_out(self, zone: str, check: asyncio.Task[None]) -> None:
        if self._checks.get(zone) is check:
            del self._checks[zone]
