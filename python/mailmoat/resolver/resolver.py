"""The resolver of one worker: cache, single flight, budget and circuits in front of real name servers.

Made after the fork and inside the running loop, by the worker and by commands; keeps no thread, and no socket between queries.
Promises what `Resolver` does. An answer is kept as long as its TTL allows (RFC 1035 3.2.1, RFC 2308 5), a failure a second (RFC 9520
3.2). Names are queried as given, never with a search list.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat.metrics import DNS_CACHE_HITS, DNS_CIRCUIT_BREAKERS_OPEN, DNS_QUERIES, WORKERS_DNS_SILENT, Family
from mailmoat.resolver import names
from mailmoat.resolver.answer import Answer, Failed, Failure, Found, Kind
from mailmoat.resolver.cache import Cache, Key
from mailmoat.resolver.servers import UNANSWERED, Servers
from mailmoat.resolver.single_flight import SingleFlight
from mailmoat.resolver.upstream_health import UpstreamHealth
from mailmoat.resolver.zones import Zones

if TYPE_CHECKING:
    from mailmoat.metrics import Metrics
    from mailmoat.resolver.protocol import Budget
    from mailmoat.settings.sections.dns import DnsSettings

FAILURE_TIME: Final = 1.0

DNS_FAILURES: Final = Family(
    "mailmoat_dns_failures_total", "Queries without an answer, by reason.", {"reason": Failure}
)


class DnsResolver:
    """`Resolver` on the servers of the settings, or of the system; `most` bounds the queries on their way, else `single_flight.MOST`."""

    def __init__(self, settings: DnsSettings, metrics: Metrics | None = None, most: int | None = None) -> None:
        self._settings = settings
        self._metrics = metrics
        self._servers = Servers(settings)
        self._cache = Cache(settings.cache_size)
        self._in_flight = SingleFlight(self._ask, most)
        self._zones = Zones(self._servers, settings.failures, settings.open_time, self._breakers_changed)
        self._upstream = UpstreamHealth(self._servers, settings.failures, settings.open_time, self._servers_changed)
        self._closed = False

    def cached(self, name: str, kind: Kind) -> Answer | None:
        """See `Resolver`."""
        return self._known((names.normal(name), kind))

    async def query(self, name: str, kind: Kind, budget: Budget) -> Answer:
        """See `Resolver`."""
        key = (names.normal(name), kind)
        known = self._known(key)
        if known is not None:
            return known
        if not budget.spend():
            return self._failed(Failure.BUDGET)
        answer = await self._in_flight.answer(key, budget.client, budget.seconds)
        return self._failed(answer.reason) if isinstance(answer, Failed) else answer

    async def close(self) -> None:
        """See `Resolver`."""
        self._closed = True
        await self._upstream.close()
        await self._in_flight.close()
        await self._zones.close()

    def _known(self, key: Key) -> Answer | None:
        """Return the answer from the cache, or why this is not queried; None if it has to be."""
        answer = self._cache.get(key, clock.monotonic())
        if answer is not None:
            self._count(DNS_CACHE_HITS)
            return answer
        if key in self._in_flight:
            return None
        name, _ = key
        if names.labels(name) is None:
            return self._failed(Failure.MALFORMED)
        return self._failed(Failure.BROKEN) if self._refuses(name) else None

    def _refuses(self, name: str) -> bool:
        if self._servers.changed():
            self._zones.clear()
            self._upstream.renew()
        return self._closed or self._upstream.refuses() or self._zones.refuses(name)

    async def _ask(self, key: Key) -> Answer:
        """Ask the servers; the answer, or its absence, is kept, whether or not a caller still waits for it."""
        name, kind = key
        if self._refuses(name):  # since it waits for room, or for its turn
            return Failed(Failure.BROKEN)
        self._count(DNS_QUERIES)
        self._zones.asked(name)
        try:
            answer = await self._servers.ask(names.labels(name) or (), kind)
        except asyncio.CancelledError:
            self._zones.abandoned(name)
            raise
        if answer == UNANSWERED:
            self._zones.unanswered(name)
            self._upstream.unanswered()
        else:
            self._zones.answered(name)
            self._upstream.answered()
        self._keep(key, answer)
        return answer

    def _keep(self, key: Key, answer: Answer) -> None:
        if isinstance(answer, Failed):
            seconds = FAILURE_TIME
        else:
            longest = self._settings.cache_time if isinstance(answer, Found) else self._settings.negative_time
            seconds = min(answer.ttl, longest)
        if seconds > 0:
            self._cache.put(key, answer, clock.monotonic() + seconds)

    def _failed(self, reason: Failure) -> Failed:
        self._count(DNS_FAILURES[reason])
        return Failed(reason)

    def _count(self, metric: int) -> None:
        if self._metrics:
            self._metrics.add(metric)

    def _servers_changed(self, silent: bool) -> None:  # noqa: FBT001 - it is all there is to notify
        """Reset the zones when the servers fail or return: queries to dead servers say nothing about zones."""
        self._zones.clear()
        if self._metrics:
            self._metrics.set(WORKERS_DNS_SILENT, int(silent))

    def _breakers_changed(self, count: int) -> None:
        if self._metrics:
            self._metrics.set(DNS_CIRCUIT_BREAKERS_OPEN, count)
