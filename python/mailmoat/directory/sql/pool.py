"""The connections of a live source: at most so many at a time, kept open between lookups, to the first server that serves.

A connection in which anything failed, or whose lookup was given up, is closed and not used again, and then so are the idle ones: a server that is
gone has closed them all. Then its server is passed over for a while, unless it was an idle connection that had been closed. Where the answer to a
lookup is an error, that connection alone is closed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from mailmoat.directory.preference import Preference
from mailmoat.errors import LookupFailedError, SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mailmoat.directory.sql.connection import Connection, Database, Rows
    from mailmoat.directory.sql.placeholders import Query
    from mailmoat.settings.source_url import SourceServer


class _Kept(NamedTuple):
    connection: Connection
    server: SourceServer
    file: str
    """Which file was opened."""


class Pool:
    """The connections of one row; each step of a lookup has `patience` seconds."""

    def __init__(self, database: Database, servers: Sequence[SourceServer], most: int, patience: float) -> None:
        self._database = database
        self._preference: Preference[SourceServer] = Preference(servers)
        self._patience = patience
        self._free = asyncio.Semaphore(most)
        self._idle: list[_Kept] = []
        self._served_last: SourceServer | None = None

    async def ask(self, query: Query, values: Mapping[str, object]) -> Rows:
        """Return the answer to one lookup. SourceError when no server gives one."""
        async with self._free:
            kept = self._take()
            if kept is not None:
                try:
                    return await self._use(kept, query, values)
                except LookupFailedError:
                    raise
                except SourceError:
                    pass  # the server may have closed it while it was idle
            kept = await self._open()
            try:
                return await self._use(kept, query, values)
            except LookupFailedError:
                raise
            except SourceError as error:
                self._preference.failed(kept.server, str(error))
                raise

    @property
    def passed_over(self) -> tuple[str, ...]:
        """Why each server that is preferred to the one that served last is not asked."""
        return self._preference.passed_over(self._served_last) if self._served_last is not None else ()

    async def close(self) -> None:
        """Say goodbye on the idle connections."""
        while self._idle:
            await self._idle.pop().connection.close()

    async def _use(self, kept: _Kept, query: Query, values: Mapping[str, object]) -> Rows:
        try:
            found = await kept.connection.ask(query, values)
        except LookupFailedError:
            kept.connection.abort()
            self._preference.served(kept.server)
            raise
        except BaseException as error:
            kept.connection.abort()
            while self._idle:
                self._idle.pop().connection.abort()
            if isinstance(error, asyncio.CancelledError):
                self._preference.failed(kept.server, f"{kept.server}: no answer in time")
            raise
        self._preference.served(kept.server)
        self._served_last = kept.server
        self._idle.append(kept)
        return found

    def _take(self) -> _Kept | None:
        """Return an idle connection to the preferred server, and to the file that has its name now."""
        preferred = self._preference.in_turn()[0]
        while self._idle:
            kept = self._idle.pop()
            if kept.server == preferred and kept.file == self._database.file(preferred):
                return kept
            kept.connection.abort()
        return None

    async def _open(self) -> _Kept:
        failures = []
        for server in self._preference.in_turn():
            file = self._database.file(server)
            try:
                return _Kept(await self._database.open(server, self._patience), server, file)
            except SourceError as error:
                failures.append(str(error))
                self._preference.failed(server, failures[-1])
            except asyncio.CancelledError:
                self._preference.failed(server, f"{server}: no connection in time")
                raise
        raise SourceError("; ".join(failures))
