"""The servers of one directory in their order of preference: which of them is asked, and when the preferred one is tried again.

A server that failed is passed over for a while, the longer the more often it failed in a row, as long as another one serves. Nothing here
runs by itself: `connect` tries them, `preferred` those before the present one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat import clock
from mailmoat.directory.ldap.opening import open_connection
from mailmoat.directory.ldap.outcome import ServerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat.directory.ldap.connection import Connection
    from mailmoat.directory.ldap.opening import Access
    from mailmoat.directory.ldap.server import Server

FIRST_PAUSE: Final = 15.0
LONGEST_PAUSE: Final = 300.0
"""Seconds for which a server that failed is passed over: the first, doubled up to the longest."""


class _Away(NamedTuple):
    """How a server failed of late."""

    until: float = 0.0
    """When it is tried again, by the monotonic clock."""
    pause: float = 0.0

    def longer(self, now: float) -> _Away:
        pause = min(max(FIRST_PAUSE, 2 * self.pause), LONGEST_PAUSE)
        return _Away(now + pause, pause)


class Servers:
    """The servers of one row, the preferred one first."""

    def __init__(self, servers: Sequence[Server], access: Access) -> None:
        self._servers = tuple(servers)
        self._access = access
        self._away = dict.fromkeys(self._servers, _Away())

    async def connect(self) -> Connection:
        """Return a connection to the first server that serves. ServerError with what each of them said when none does."""
        now = clock.monotonic()
        in_turn = sorted(self._servers, key=lambda server: self._away[server].until > now)
        failures = []
        for server in in_turn:
            try:
                return await self._try(server)
            except ServerError as error:
                failures.append(str(error))
        raise ServerError("; ".join(failures))

    def due(self, connection: Connection) -> bool:
        """Say whether it is time to try a server before that of `connection`."""
        return bool(self._before(connection))

    async def preferred(self, connection: Connection) -> Connection | None:
        """Return a connection to a server before that of `connection` which serves again; None while there is none."""
        for server in self._before(connection):
            try:
                return await self._try(server)
            except ServerError:
                continue
        return None

    def failed(self, server: Server) -> None:
        """Pass over a server that broke off or did not answer."""
        self._away[server] = self._away[server].longer(clock.monotonic())

    def served(self, server: Server) -> None:
        """Count a server as well again: it answered what it was asked."""
        self._away[server] = _Away()

    def _before(self, connection: Connection) -> list[Server]:
        now = clock.monotonic()
        earlier = self._servers[: self._servers.index(connection.server)]
        return [server for server in earlier if self._away[server].until <= now]

    async def _try(self, server: Server) -> Connection:
        try:
            return await open_connection(server, self._access)
        except ServerError:
            self.failed(server)
            raise
