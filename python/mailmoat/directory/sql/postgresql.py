"""PostgreSQL, by asyncpg: parts of a result by a cursor in a read-only transaction, values bound by the server, LISTEN.

The server gives up a statement by itself (`statement_timeout`), in case we are gone. Nothing of the environment (`PGPASSWORD`, `~/.pgpass`)
counts but what libpq's defaults for a missing account do.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from mailmoat.directory.password import read_password
from mailmoat.directory.sql.access import driver, socket_path, tls_context
from mailmoat.directory.sql.connection import GOODBYE_TIME, NO_TLS, PART, Rows, prepared
from mailmoat.directory.sql.framing import FramedLoop
from mailmoat.directory.sql.patience import Patience
from mailmoat.directory.sql.placeholders import POSTGRESQL
from mailmoat.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from mailmoat.directory.sql.placeholders import Query
    from mailmoat.settings.sections.directories import SourceSettings
    from mailmoat.settings.source_url import SourceServer

SOCKET_DIRECTORY: Final = "/run/postgresql"
PORT: Final = 5432
_AWAY: Final = ("08", "53", "57", "58")
"""Classes of SQLSTATEs: connection, resources, intervention (a statement that took too long among them), system."""
_SHOWN: Final = ("28", "3D", "42", "0A", "25006", "55")
"""SQLSTATEs whose text has names of objects, words of the query and of the settings in it, and no values."""
_SAID: Final = {
    "22": "a value in the query cannot be computed, or is not of the type that its place has",
    "53300": "it has no room for another connection",
    "57014": "the query took too long",
    "57P": "it is being shut down or started",
}


class PostgreSql:
    """The databases of one row."""

    syntax = POSTGRESQL

    def __init__(self, row: SourceSettings) -> None:
        self._row = row
        self._asyncpg = driver("asyncpg", "postgresql")

    async def open(self, server: SourceServer, patience: float) -> PostgreSqlConnection:
        """See `Database`."""
        context = tls_context(self._row) if server.host else None
        place = (server.host, server.port) if server.host else (socket_path(server, SOCKET_DIRECTORY), PORT)
        password, loop = read_password(self._row), asyncio.get_running_loop()
        made = await Patience(str(server), min(patience, self._row.timeout), _said, _is_answer).wait(
            self._asyncpg.connect(
                host=place[0],
                port=place[1],
                user=self._row.account,
                password=password,
                database=server.path.strip("/"),
                ssl=context or False,
                timeout=self._row.timeout,
                loop=loop if context else FramedLoop(loop),
                server_settings={"application_name": "mailmoat"},
            )
        )
        connection = PostgreSqlConnection(made, str(server), patience)
        return await prepared(connection, connection.prepare_session(self._row.notify_channel))

    def file(self, server: SourceServer) -> str:  # noqa: ARG002 - it is a server
        """See `Database`."""
        return ""

    stamp = file


class PostgreSqlConnection:
    """One connection; see `Connection`."""

    def __init__(self, connection: Any, where: str, patience: float) -> None:
        version = connection.get_server_version()
        self.version = f"PostgreSQL {version.major}.{version.micro}"
        self._connection = connection
        self._patience = Patience(where, patience, _said, _is_answer)
        self._changed = asyncio.Event()

    async def prepare_session(self, channel: str | None) -> None:
        """Make the session read only and its statements limited, and listen."""
        limit = max(1, round(self._patience.seconds * 1000))
        await self._patience.wait(
            self._connection.execute(f"SET default_transaction_read_only = on; SET statement_timeout = {limit}")
        )
        if channel is not None:
            self._connection.add_termination_listener(lambda _: self._changed.set())
            await self._patience.wait(self._connection.add_listener(channel, lambda *_: self._changed.set()))

    async def read(self, query: Query, values: Mapping[str, object]) -> AsyncGenerator[Rows, None]:
        """See `Connection`."""
        with self._patience.outages(query):  # what is no coroutine raises as well, on a connection that was lost
            transaction = self._connection.transaction(readonly=True)
            await self._patience.wait(transaction.start())
            statement = await self._patience.wait(self._connection.prepare(query.text), query)
            names = tuple(attribute.name for attribute in statement.get_attributes())
            cursor = await self._patience.wait(statement.cursor(*query.arguments(values)), query)
            part, first = await self._patience.wait(cursor.fetch(PART), query), True
            while part or first:
                yield Rows(names, part)
                first = False
                part = await self._patience.wait(cursor.fetch(PART), query)
            await self._patience.wait(transaction.rollback())

    async def ask(self, query: Query, values: Mapping[str, object]) -> Rows:
        """See `Connection`."""
        text = f"SELECT * FROM ({query.text}\n) AS found LIMIT {PART}"  # noqa: S608 - the query is the administrator's, values are bound
        with self._patience.outages(query):
            statement = await self._patience.wait(self._connection.prepare(text), query)
            names = tuple(attribute.name for attribute in statement.get_attributes())
            return Rows(names, await self._patience.wait(statement.fetch(*query.arguments(values)), query))
        raise AssertionError  # outages never swallows

    async def notified(self, seconds: float) -> None:
        """See `Notified`."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()
        if self._connection.is_closed():
            raise SourceError(f"{self._patience.where}: the connection was lost")

    async def close(self) -> None:
        """See `Connection`."""
        try:
            await self._patience.wait(self._connection.close(timeout=GOODBYE_TIME))
        except SourceError:
            self.abort()

    def abort(self) -> None:
        """See `Connection`."""
        self._connection.terminate()


def _is_answer(error: BaseException) -> bool:
    """Return whether the server serves, and this query alone has failed."""
    state = getattr(error, "sqlstate", None)
    return isinstance(state, str) and not state.startswith(_AWAY)


def _said(error: BaseException) -> str | None:
    """Return what the server said of a query, if no value of it is in that."""
    if isinstance(error, ConnectionError) and "SSL" in str(error):
        return NO_TLS
    state = getattr(error, "sqlstate", None)
    if not isinstance(state, str):
        return None
    if state.startswith(_SHOWN):
        return str(getattr(error, "message", None) or error)
    return next((said for begin, said in _SAID.items() if state.startswith(begin)), f"error {state}")
