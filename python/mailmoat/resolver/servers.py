"""The name servers: their order, the attempts, and whether there are any.

A server that did not answer is asked last for a while; then one query finds out whether it is back. Nothing here raises but
CancelledError.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat.resolver import transport, wire
from mailmoat.resolver.answer import Answer, Failed, Failure
from mailmoat.resolver.resolv_conf import ResolvConf

if TYPE_CHECKING:
    from mailmoat.net.endpoint import Endpoint
    from mailmoat.settings.sections.dns import DnsSettings

UNANSWERED: Final = Failed(Failure.TIMEOUT)
JITTER: Final = 0.25
"""The part of `dns.timeout` that is left to chance: queries that a server lost together are not repeated together."""
_STEPS: Final = 1000


class _Known:
    """A server and what is known of it."""

    __slots__ = ("address", "rests_until")

    def __init__(self, address: Endpoint) -> None:
        self.address = address
        self.rests_until = 0.0
        """It did not answer its last query, and others are asked first until then; 0 when it did."""


class Servers:
    """All name servers of one worker."""

    def __init__(self, settings: DnsSettings) -> None:
        self._timeout = settings.timeout
        self._lifetime = settings.lifetime
        self._rest = settings.open_time
        self._trusted = settings.trust_ad
        self._system = None if settings.servers else ResolvConf()
        self._servers = [_Known(address) for address in (self._system.servers if self._system else settings.servers)]

    def changed(self) -> bool:
        """Return whether the servers have changed because the system's have. Running queries end with the servers they were sent to."""
        if self._system is None or not self._system.changed():
            return False
        known = {server.address: server for server in self._servers}
        self._servers = [known.get(address) or _Known(address) for address in self._system.servers]
        return True

    async def ask(self, labels: tuple[bytes, ...], kind: str) -> Answer:
        """Return the answer. After a server that fails, the next is asked; a silent one is asked again."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._lifetime
        failure = UNANSWERED
        silent = self._order()
        while silent and failure is UNANSWERED:
            asked, silent = silent, []
            for server in asked:
                left = deadline - loop.time()
                if left <= 0:
                    return failure
                try:
                    octets = await self._try(server, labels, kind, min(self._wait(), left))
                except TimeoutError:
                    silent.append(server)
                    continue
                except (OSError, EOFError):
                    continue
                answer = wire.read(octets, trusted=self._trusted)
                if answer != wire.UNREADABLE:
                    return answer
                failure = wire.UNREADABLE
        return failure

    def _wait(self) -> float:
        """Return the seconds of one try: never more than the setting says."""
        return self._timeout * (1 - JITTER * clock.random_below(_STEPS) / _STEPS)

    async def _try(self, server: _Known, labels: tuple[bytes, ...], kind: str, seconds: float) -> bytes:
        try:
            octets = await transport.ask(server.address, wire.query(labels, kind), seconds)
        except (OSError, EOFError):
            server.rests_until = clock.monotonic() + self._rest
            raise
        server.rests_until = 0.0
        return octets

    def _order(self) -> list[_Known]:
        now = clock.monotonic()
        order = sorted(self._servers, key=lambda server: server.rests_until > now)
        if order[0].rests_until:
            order[0].rests_until = now + self._timeout
        return order
