"""The limits of this machine: connections of the whole server and of each source, counted in the memory its workers share.

A source is an IPv4 address or an IPv6 /64. When its table is full, a source is not counted and its clients are admitted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.limits.limiter import CONNECTIONS_REFUSED, UNCOUNTED, Admission, Limit
from mailmoat.metrics import CONNECTIONS, SOURCES_UNCOUNTED
from mailmoat.net.address import packed

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.metrics import Metrics
    from mailmoat.settings.sections.limits import LimitsSettings


class LocalLimiter:
    """The limits as one worker sees them; `make_room` closes an idle connection, or says that there is none."""

    def __init__(self, limits: LimitsSettings, metrics: Metrics, make_room: Callable[[], bool]) -> None:
        self._connections = limits.connections
        self._per_source = limits.connections_per_source
        self._metrics = metrics
        self._make_room = make_room

    def admit(self, address: str) -> Admission:
        """Count a session from this address, unless the server or the source has too many."""
        shared = self._metrics.shared
        crowded = self._connections and shared.sum(CONNECTIONS) > self._connections
        if crowded and not self._make_room():
            return self._refuse(b"", Limit.SERVER)
        if not self._per_source or not address:
            return UNCOUNTED
        source = packed(address)
        count = shared.source_enter(self._metrics.slot, source)
        if count == 0:
            self._metrics.add(SOURCES_UNCOUNTED)
            return UNCOUNTED
        return self._refuse(source, Limit.SOURCE) if count > self._per_source else Admission(source)

    def give_back(self, source: bytes) -> None:
        """Take a source out of the count."""
        if source:
            self._metrics.shared.source_leave(self._metrics.slot, source)

    def _refuse(self, source: bytes, limit: Limit) -> Admission:
        self._metrics.add(CONNECTIONS_REFUSED[limit])
        return Admission(source, limit)
