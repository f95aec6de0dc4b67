"""Active Directory as a synchronised source: read whole once, then what changes, from whichever of its controllers serves.

A controller that fails is left for the next one at once; the outage is a SourceError only when none serves. Where controllers give notices, `steps`
goes on until a controller before the present one serves again; else it ends after one look.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

from mailmoat.directory.ad.mark import Mark
from mailmoat.directory.ad.notices import Notices
from mailmoat.directory.ad.probe import probe
from mailmoat.directory.ad.takeover import Takeover
from mailmoat.directory.ad.visit import Visit
from mailmoat.directory.failover import follow
from mailmoat.directory.source import Using
from mailmoat.ldap import root_dse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

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

    def steps(self, cookie: bytes | None, known: KnownIds) -> AsyncGenerator[Step, None]:
        """See `SyncSource`."""
        return follow(self._servers.preference, cookie, partial(self._at, known), self._servers.returns)

    async def probe(self) -> ProbeResult:
        """See `Probed`."""
        connection = await self._servers.connect()
        try:
            return await probe(connection, self._place, self._servers.access.connect_time)
        finally:
            connection.close()

    async def _at(self, known: KnownIds, server: Server, cookie: bytes | None) -> AsyncGenerator[Step, None]:
        """Yield the steps of one controller, until it gives no notices or a preferred one serves again."""
        connection = await self._servers.open(server)
        try:
            yield Using(server.text)
            visit = Visit(connection, self._place, known, Mark.decode(cookie), self._takeover)
            async with Notices(connection, await visit.context()) as notices:
                noticed = False
                while noticed or not await self._servers.returns(server):
                    async with aclosing(visit.steps(compare=not noticed)) as steps:
                        async for step in steps:
                            yield step
                    if not notices.given:
                        return
                    noticed = await self._wait(notices, connection)
        finally:
            connection.close()

    async def _wait(self, notices: Notices, connection: Connection) -> bool:
        """Wait until something changes, at most for the interval, and return whether it did. A server that hangs meanwhile raises ServerError."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._interval
        while (left := end - loop.time()) > 0:
            if await notices.wait(min(left, PING_INTERVAL)):
                return True
            await root_dse.ping(connection)
        return False
