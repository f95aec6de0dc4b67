"""The limits of this machine: connections of the server, of a source and of its networks, counted in the memory its workers share.

A source is an IPv4 address or an IPv6 /64. The network around it may have three times as many connections, the one around that nine
times. Where the server has a limit, a source may also have no more than a part of the connections that are left, so that none takes the
last. When its table is full, a source is not counted and its clients are admitted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat.limits.limiter import CONNECTIONS_REFUSED, UNCOUNTED, Admission, Limit, LimitClass
from mailmoat.metrics import CONNECTIONS, SOURCES_UNCOUNTED
from mailmoat.net.address import packed

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.limits.limiter import RateLimiter
    from mailmoat.metrics import Metrics
    from mailmoat.settings.sections.limits import LimitsSettings

FACTORS: Final = (1, 3, 9)
"""How many times `limits.connections_per_source` a prefix may have, the source first."""
LEAST_SHARE: Final = 10
"""Connections a source may have however few are left: a part of a small server would be none."""


class LocalLimiter:
    """The limits as one worker sees them; `make_room` closes an idle connection, or says that there is none."""

    def __init__(
        self, limits: LimitsSettings, metrics: Metrics, rates: RateLimiter, make_room: Callable[[], bool]
    ) -> None:
        self._connections = limits.connections
        self._per_source = limits.connections_per_source
        self._percent = limits.connections_per_source_percent if limits.connections else 0
        self._few = min(self._per_source or LEAST_SHARE, LEAST_SHARE)  # never too many, whatever is left
        self._metrics = metrics
        self._rates = rates if rates.limits(LimitClass.CONNECTIONS) else None
        self._make_room = make_room

    def admit(self, address: str, *, limited: bool) -> Admission:
        """Count a session from this address, unless the server, the source or a network around it has too many."""
        shared = self._metrics.shared
        now = shared.sum(CONNECTIONS) if self._connections else 0
        if now > self._connections and not self._make_room():
            return self._refuse(b"", Limit.SERVER)
        if not (limited and address):
            return UNCOUNTED
        if self._rates is not None and (wait := self._rates.spend(LimitClass.CONNECTIONS, address)):
            return self._refuse(b"", Limit.RATE, wait)
        if not (self._per_source or self._percent):
            return UNCOUNTED
        source = packed(address)
        counts = shared.source_enter(self._metrics.slot, source)
        if counts is None:
            self._metrics.add(SOURCES_UNCOUNTED)
            return UNCOUNTED
        limit = self._exceeded(counts, now)
        return Admission(source) if limit is None else self._refuse(source, limit)

    def give_back(self, source: bytes) -> None:
        """Take a source out of the count."""
        if source:
            self._metrics.shared.source_leave(self._metrics.slot, source)

    def _exceeded(self, counts: list[int], now: int) -> Limit | None:
        """Return the limit that is exceeded by a source with so many connections, when the server has `now`."""
        if max(counts) <= self._few:
            return None
        own, *others = counts
        if self._per_source and own > self._per_source:
            return Limit.SOURCE
        if self._percent and own > max(LEAST_SHARE, (self._connections - now + own) * self._percent // 100):
            return Limit.SHARE
        if self._per_source:
            for count, factor in zip(others, FACTORS[1:], strict=True):
                if count > factor * self._per_source:
                    return Limit.NETWORK
        return None

    def _refuse(self, source: bytes, limit: Limit, wait: float = 0.0) -> Admission:
        self._metrics.add(CONNECTIONS_REFUSED[limit])
        return Admission(source, limit, wait)
