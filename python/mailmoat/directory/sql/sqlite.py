"""SQLite, by Python's own module, in one thread for each source: the loop never waits for the disk, or for a query.

The file is opened read-only. A query that takes too long is ended. The stamp of the files says whether anything was written, so a database
at rest is not read again.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar
from urllib.parse import quote

from mailmoat.directory.sql.connection import PART, Rows, outages, prepared
from mailmoat.directory.sql.placeholders import SQLITE
from mailmoat.errors import SourceError
from mailmoat.file_changes import NONE, stamp_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from mailmoat.directory.sql.placeholders import Query
    from mailmoat.settings.sections.directories import SourceSettings
    from mailmoat.settings.source_url import SourceServer

T = TypeVar("T")
P = ParamSpec("P")
_FILES: Final = ("", "-wal", "-journal")
_STEPS: Final = 100_000
"""Instructions of SQLite after which a query is looked at."""
_OF_THE_QUERY: Final = frozenset(
    {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE}
)
_CONVERTED: Final = (type(None), int, float, str, bytes)


class Sqlite:
    """The database of one row."""

    syntax = SQLITE

    def __init__(self, row: SourceSettings) -> None:
        self._lock_time = row.timeout

    async def open(self, server: SourceServer, patience: float) -> SqliteConnection:
        """See `Database`."""
        connection = SqliteConnection(server.path, patience)
        return await prepared(connection, connection.connect(self._lock_time))

    def file(self, server: SourceServer) -> str:
        """See `Database`."""
        return str(stamp_of(Path(server.path)).inode)

    def stamp(self, server: SourceServer) -> str:
        """See `Database`."""
        stamps = [stamp_of(Path(server.path + suffix)) for suffix in _FILES]
        return "" if stamps[0] == NONE else " ".join(str(number) for stamp in stamps for number in stamp)


class SqliteConnection:
    """One connection and its thread; see `Connection`.

    What belongs to SQLite is made, used and freed in the thread: even to free a cursor waits for the query that runs, and a loop that
    waits for it cannot end it.
    """

    version = f"SQLite {sqlite3.sqlite_version}"

    def __init__(self, path: str, patience: float) -> None:
        self._path = path
        self._patience = patience
        self._thread = ThreadPoolExecutor(1, "sqlite")
        self._base: sqlite3.Connection | None = None
        self._cursor: sqlite3.Cursor | None = None
        self._over = False

    async def connect(self, lock_time: float) -> None:
        """Open the file."""
        await self._call(self._connect, lock_time)

    async def read(self, query: Query, values: Mapping[str, object]) -> AsyncGenerator[Rows, None]:
        """See `Connection`."""
        rows = await self._execute(query, values)
        yield rows
        while part := await self._call(self._more):
            yield Rows(rows.names, part)

    async def ask(self, query: Query, values: Mapping[str, object]) -> Rows:
        """See `Connection`."""
        rows = await self._execute(query, values)
        await self._call(self._finish)
        return rows

    async def close(self) -> None:
        """See `Connection`."""
        self.abort()

    def abort(self) -> None:
        """See `Connection`."""
        if not self._over:
            self._over = True
            self._thread.submit(self._end)
            self._thread.shutdown(wait=False)

    async def _execute(self, query: Query, values: Mapping[str, object]) -> Rows:
        if self._over:
            raise SourceError(f"{self._path}: it is closed")
        arguments = [value if isinstance(value, _CONVERTED) else str(value) for value in query.arguments(values)]
        found = await self._call(self._begin, query.text, arguments)
        if found is None:
            raise SourceError(f"{query.setting}: it gives no rows; write a SELECT")
        return found

    # In the thread.

    def _connect(self, lock_time: float) -> None:
        uri = f"file:{quote(self._path)}?mode=ro"
        base = sqlite3.connect(uri, uri=True, timeout=lock_time, check_same_thread=False, isolation_level=None)
        base.text_factory = _text
        # Unlike `interrupt`, it ends a query as well that the thread has not begun yet.
        base.set_progress_handler(lambda: self._over, _STEPS)
        self._base = base
        base.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()

    def _begin(self, text: str, arguments: Sequence[object]) -> Rows | None:
        """Begin a query; return its first rows, or nothing for what gives no rows."""
        self._finish()
        if self._base is None:
            raise sqlite3.ProgrammingError("the file is not open")
        self._cursor = self._base.execute(text, arguments)
        if self._cursor.description is None:
            return None
        return Rows(tuple(column[0] for column in self._cursor.description), self._more())

    def _more(self) -> list[tuple[object, ...]]:
        return self._cursor.fetchmany(PART) if self._cursor is not None else []

    def _finish(self) -> None:
        self._cursor = None

    def _end(self) -> None:
        self._finish()
        if self._base is not None:
            self._base.close()

    # For the loop.

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        with outages(self._path, _said, _is_answer):
            async with asyncio.timeout(self._patience):
                return await loop.run_in_executor(self._thread, lambda: function(*args, **kwargs))
        raise AssertionError  # outages never swallows


def _text(octets: bytes) -> str:
    """Return text; SQLite holds any octets as such."""
    return octets.decode(errors="replace")


def _is_answer(error: BaseException) -> bool:
    """Return whether the file can be read, and this query alone has failed."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _OF_THE_QUERY


def _said(error: BaseException) -> str | None:
    """Return what SQLite says: it has words of the query in it, and no values."""
    return str(error) if isinstance(error, sqlite3.Error) else None
