"""MySQL and MariaDB, by asyncmy: rows as they come, in a read-only session, with values bound by the server.

The driver has no bound values for a result that is read in parts: it would escape them into the text. So a query with values is prepared by the
server (`PREPARE`), and each value is given to it as a variable, written as hexadecimal digits, which no setting of the server reads in another
way. The server gives up a query by itself, in case we are gone: MariaDB counts the sending of the rows as well, so there it has ten times the wait for them.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from socket import SO_RCVBUF, SOL_SOCKET  # noqa: TID251 - constants, no socket
from typing import TYPE_CHECKING, Any, Final

from mailmoat.directory.password import read_password
from mailmoat.directory.sql.access import driver, socket_path, tls_context
from mailmoat.directory.sql.connection import GOODBYE_TIME, NO_TLS, PART, Rows, prepared
from mailmoat.directory.sql.patience import Patience
from mailmoat.directory.sql.placeholders import MYSQL
from mailmoat.errors import LookupFailedError, SourceError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from mailmoat.directory.sql.placeholders import Query
    from mailmoat.settings.sections.directories import SourceSettings
    from mailmoat.settings.source_url import SourceServer

SOCKET: Final = "/run/mysqld/mysqld.sock"
_RECEIVED: Final = 65_536
"""Octets that the kernel may keep for us: what it has is read at once, and the driver's buffer doubles for it."""
_TLS: Final = 0x800
"""CLIENT_SSL among the capabilities of a server."""
_SHOWN: Final = frozenset({1044, 1045, 1049, 1054, 1064, 1129, 1130, 1142, 1143, 1146, 1226, 1242, 1698})
"""Errors whose text has words of the query and of the settings in it, and no values."""
_LOCK_TIME: Final = 1205
_CLIENT: Final = 2000
"""Errors from here on are of the driver: the server did not answer."""
_SAID: Final = {
    1040: "it has no room for another connection",
    1053: "it is being shut down",
    1203: "it has no room for another connection of this account",
    1317: "the query was stopped",
    1927: "it has ended the connection",
    1969: "the query took too long",
    3024: "the query took too long",
    2003: "no connection",
    2006: "the connection was lost",
    2013: "the connection was lost",
}


class MySql:
    """The databases of one row."""

    syntax = MYSQL

    def __init__(self, row: SourceSettings) -> None:
        self._row = row
        self._asyncmy = driver("asyncmy.connection", "mysql")
        self._cursor = driver("asyncmy.cursors", "mysql").SSCursor

    async def open(self, server: SourceServer, patience: float) -> MySqlConnection:
        """See `Database`."""
        made = self._connection(server)
        try:
            await Patience(str(server), min(patience, self._row.timeout), _said, _is_answer).wait(made.connect())
        except SourceError as error:
            raise SourceError(f"{server}: {NO_TLS}" if self._without_tls(made) else str(error)) from None
        connection = MySqlConnection(made, self._cursor, str(server), patience)
        return await prepared(connection, connection.prepare_session())

    def file(self, server: SourceServer) -> str:  # noqa: ARG002 - it is a server
        """See `Database`."""
        return ""

    stamp = file

    def _connection(self, server: SourceServer) -> Any:
        path = None if server.host else socket_path(server, SOCKET)
        context = tls_context(self._row) if server.host else None
        return self._asyncmy.Connection(
            host=server.host or None,
            port=server.port,
            unix_socket=path,
            user=self._row.account,
            password=read_password(self._row).encode(),
            database=server.path.strip("/"),
            ssl=context,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=self._row.timeout,
            # A server that answers at this address without TLS could ask for the password itself.
            auth_plugin_map={} if context or path else {"mysql_clear_password": _Refusing, "dialog": _Refusing},
        )

    def _without_tls(self, connection: Any) -> bool:
        wanted = self._row.tls != "none" and connection._ssl_context is not None  # noqa: SLF001 - it is not said otherwise
        return wanted and not getattr(connection, "server_capabilities", _TLS) & _TLS


class _Refusing:
    """Answers no demand for the password in clear."""

    def __init__(self, connection: object) -> None:
        del connection

    def authenticate(self, packet: object) -> object:
        """Refuse."""
        raise SourceError(f"it asks for the password in clear, and the connection has no TLS{'' if packet else '.'}")


class MySqlConnection:
    """One connection; see `Connection`."""

    def __init__(self, connection: Any, cursor: Any, where: str, patience: float) -> None:
        written = str(connection.get_server_info())
        self._maria = "mariadb" in written.lower()
        number = written.removeprefix("5.5.5-").partition("-")[0]
        self.version = f"{'MariaDB' if self._maria else 'MySQL'} {number}"
        self._connection = connection
        self._cursor = cursor
        self._patience = Patience(where, patience, _said, _is_answer)
        self._prepared: dict[str, str] = {}

    async def prepare_session(self) -> None:
        """Make the session read only and its statements limited; times are in UTC."""
        limit = (
            f"max_statement_time = {10 * self._patience.seconds:.3f}"
            if self._maria
            else f"max_execution_time = {max(1, round(10_000 * self._patience.seconds))}"
        )
        opened = self._connection._transport.get_extra_info("socket")  # noqa: SLF001 - as in `_part`
        opened.setsockopt(SOL_SOCKET, SO_RCVBUF, _RECEIVED)
        await self._run(f"SET SESSION time_zone = '+00:00', {limit}")
        await self._run("SET SESSION TRANSACTION READ ONLY")

    async def read(self, query: Query, values: Mapping[str, object]) -> AsyncGenerator[Rows, None]:
        """See `Connection`."""
        cursor = await self._begin(query, values)
        names = _names(query, cursor)
        part, first = await self._part(cursor, query), True
        while part or first:
            yield Rows(names, part)
            first = False
            part = await self._part(cursor, query) if part else ()
        self._connection._transport.resume_reading()  # noqa: SLF001 - as in `_part`
        await self._patience.wait(cursor.close())

    async def ask(self, query: Query, values: Mapping[str, object]) -> Rows:
        """See `Connection`."""
        cursor = await self._begin(query, values)
        rows = Rows(_names(query, cursor), await self._patience.wait(cursor.fetchmany(PART), query))
        if len(rows.rows) == PART:
            raise LookupFailedError(f"{query.setting}: it gives {PART} rows or more about one recipient")
        await self._patience.wait(cursor.close())
        return rows

    async def close(self) -> None:
        """See `Connection`."""
        try:
            await self._patience._replace(seconds=GOODBYE_TIME).wait(self._connection.ensure_closed())
        except SourceError:
            self.abort()

    def abort(self) -> None:
        """See `Connection`."""
        self._connection.close()

    async def _begin(self, query: Query, values: Mapping[str, object]) -> Any:
        """Return a cursor whose first row is the next to come."""
        cursor = self._connection.cursor(self._cursor)
        if not query.names:
            await self._patience.wait(cursor.execute(query.text), query)
            return cursor
        if query.text not in self._prepared:
            name = f"mailmoat_{len(self._prepared)}"
            await self._run(f"SET @mailmoat_query = {_literal(query.text)}")
            await self._run(f"PREPARE {name} FROM @mailmoat_query", query)
            self._prepared[query.text] = name
        variables = [f"@mailmoat_{number}" for number in range(len(query.names))]
        given = zip(variables, map(_literal, query.arguments(values)), strict=True)
        setting = ", ".join(f"{variable} = {literal}" for variable, literal in given)
        execute = f"EXECUTE {self._prepared[query.text]} USING {', '.join(variables)}"
        await self._patience.wait(cursor.execute(f"SET {setting}; {execute}"), query)
        await self._patience.wait(cursor.nextset(), query)
        return cursor

    async def _part(self, cursor: Any, query: Query) -> Sequence[Sequence[object]]:
        """Return the next rows; no octets are read between two parts, as the driver would keep all that come."""
        transport = self._connection._transport  # noqa: SLF001 - the driver has no limit of its own
        transport.resume_reading()
        part: Sequence[Sequence[object]] = await self._patience.wait(cursor.fetchmany(PART), query)
        transport.pause_reading()
        return part

    async def _run(self, statement: str, query: Query | None = None) -> None:
        cursor = self._connection.cursor()
        await self._patience.wait(cursor.execute(statement), query)
        await self._patience.wait(cursor.close())


def _names(query: Query, cursor: Any) -> tuple[str, ...]:
    if cursor.description is None:
        raise SourceError(f"{query.setting}: it gives no rows; write a SELECT")
    return tuple(column[0] for column in cursor.description)


def _literal(value: object) -> str:
    """Return a value in SQL, as digits: nothing in it can be read as anything else."""
    match value:
        case None:
            return "NULL"
        case int() | Decimal():
            return f"{value:d}" if isinstance(value, int) else f"{value:f}"
        case bytes():
            return f"X'{value.hex()}'"
        case datetime():
            utc = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
            return _literal(utc.isoformat(" "))
        case date():
            return _literal(value.isoformat())
    return f"_utf8mb4 X'{str(value).encode().hex()}'"


def _is_answer(error: BaseException) -> bool:
    """Return whether the server serves, and this query alone has failed."""
    code = error.args[0] if type(error).__module__.startswith("asyncmy") and error.args else None
    return isinstance(code, int) and code < _CLIENT and code not in _SAID and code != _LOCK_TIME


def _said(error: BaseException) -> str | None:
    """Return what the server said of a query, if no value of it is in that."""
    if not type(error).__module__.startswith("asyncmy") or not error.args or not isinstance(error.args[0], int):
        return None
    code, *text = error.args
    return str(*text[:1]) if code in _SHOWN else _SAID.get(code, f"error {code}")
