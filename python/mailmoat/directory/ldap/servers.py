"""The servers of one directory in their order of preference: connects to one that serves, and to a preferred one again when that does.

Nothing here runs by itself. Raises ServerError with what each of them said when none serves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.directory.preference import Preference
from mailmoat.errors import SourceError
from mailmoat.ldap.opening import open_connection
from mailmoat.ldap.outcome import ServerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat.ldap.connection import Connection
    from mailmoat.ldap.opening import Access
    from mailmoat.ldap.server import Server


class Servers:
    """The servers of one row, the preferred one first."""

    def __init__(self, servers: Sequence[Server], access: Access) -> None:
        self.preference = Preference(servers)
        self.access = access

    async def connect(self) -> Connection:
        """Return a connection to the first server that serves; one that failed of late is tried after the others."""
        failures = []
        for server in self.preference.in_turn():
            try:
                return await self._try(server)
            except SourceError as error:
                failures.append(str(error))
        raise ServerError("; ".join(failures))

    async def open(self, server: Server) -> Connection:
        """Return a connection to this server. Raises ServerError."""
        return await open_connection(server, self.access)

    def due(self, server: Server) -> bool:
        """Return whether it is time to try a server that is preferred to this one."""
        return bool(self.preference.before(server))

    async def preferred(self, server: Server) -> Connection | None:
        """Return a connection to a server that is preferred to this one and serves again; None while there is none."""
        for earlier in self.preference.before(server):
            try:
                return await self._try(earlier)
            except SourceError:
                continue
        return None

    async def returns(self, server: Server) -> bool:
        """Return whether a server that is preferred to this one serves again."""
        connection = await self.preferred(server)
        if connection is not None:
            connection.close()
        return connection is not None

    def failed(self, server: Server, reason: str) -> None:
        """Pass over a server that broke off or did not answer, for a while."""
        self.preference.failed(server, reason)

    def served(self, server: Server) -> None:
        """Count a server as well again: it answered what it was asked."""
        self.preference.served(server)

    async def _try(self, server: Server) -> Connection:
        try:
            return await self.open(server)
        except SourceError as error:
            self.failed(server, str(error))
            raise
