"""Active Directory as a synchronised source: read whole once, then what changes, from whichever of its controllers serves.

A controller that fails is left for the next one at once; the outage is a SourceError only when none serves. Where controllers give notices, `steps`
goes on until a controller before the present one serves again; else it ends after one look.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from mailmoat.directory.ad.mark import Mark
from mailmoat.directory.ad.notices import Notices
from mailmoat.directory.ad.probe import probe
from mailmoat.directory.ad.takeover import Takeover
from mailmoat.directory.ad.visit import Visit
from mailmoat.directory.source import Current, Delta, Using, Whole
from mailmoat.ldap import root_dse
from mailmoat.ldap.outcome import ServerError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from mailmoat.directory.ad.place import Place
    from mailmoat.directory.ldap.servers import Servers
    from mailmoat.directory.source import KnownIds, ProbeResult, Step
    from mailmoat.ldap.connection import Connection
    from mailmoat.ldap.server import Server

PING_INTERVAL: Final = 30.0
"""Seconds without a notice after which a controller is asked whether it still answers."""


class AdSync:
    """The domain that `servers` are controllers of; `interval` is the longest time between two reads, in seconds."""

    def __init__(self, servers: Servers, place: Place, interval: float) -> None:
        self._servers = servers
        self._place = place
        self._interval = interval
        self._takeover = Takeover()

    async def steps(self, cookie: bytes | None, known: KnownIds) -> AsyncIterator[Step]:
        """See `SyncSource`."""
        failed: set[Server] = set()
        while True:
            connection = await self._servers.connect()
            visit = Visit(connection, self._place, known, Mark.decode(cookie), self._takeover)
            try:
                yield Using(connection.server.text)
                async with aclosing(self._stay(visit)) as steps:
                    async for step in steps:
                        if isinstance(step, Whole | Delta | Current):
                            cookie = step.cookie
                            failed.clear()
                            self._servers.served(connection.server)
                        yield step
                if not await self._better(connection):
                    return
            except ServerError:
                self._servers.failed(connection.server)
                if connection.server in failed:
                    raise
                failed.add(connection.server)
            finally:
                connection.close()

    async def probe(self) -> ProbeResult:
        """See `Probed`."""
        connection = await self._servers.connect()
        try:
            return await probe(connection, self._place)
        finally:
            connection.close()

    async def _stay(self, visit: Visit) -> AsyncGenerator[Step]:
        """Yield what changes at one controller, until it gives no notices or a preferred one serves again."""
        async with Notices(visit.connection, await visit.context()) as notices:
            noticed = False
            while True:
                async with aclosing(visit.steps(compare=not noticed)) as steps:
                    async for step in steps:
                        yield step
                if not notices.given:
                    return
                noticed = await self._wait(notices, visit.connection)
                if not noticed and await self._better(visit.connection):
                    return

    async def _wait(self, notices: Notices, connection: Connection) -> bool:
        """Wait until something changes, at most for the interval, and return whether it did. A server that hangs meanwhile raises ServerError."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._interval
        while (left := end - loop.time()) > 0:
            if await notices.wait(min(left, PING_INTERVAL)):
                return True
            await root_dse.ping(connection)
        return False

    async def _better(self, connection: Connection) -> bool:
        """Return whether a server before that of `connection` serves again."""
        preferred = await self._servers.preferred(connection.server)
        if preferred is not None:
            self._servers.served(preferred.server)
            preferred.close()
        return preferred is not None
