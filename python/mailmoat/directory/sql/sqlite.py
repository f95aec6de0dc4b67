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

from mailmoat.directory.sql.connection import PART, Rows, outages
from mailmoat.directory.sql.placeholders import SQLITE
from mailmoat.errors import SourceError
from mailmoat.file_changes import NONE, stamp_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from mailmoat.directory.sql.placeholders import Query
    from mailmoat.settings.sections.directories import SourceSettings
    from mailmoat.settings.source_url import SourceServer

T = TypeVar("T")
P = ParamSpec("P")
_FILES: Final = ("", "-wal", "-journal")
_STEPS: Final = 100_000
"""Instructions of SQLite after which a query is looked at."""
_CONVERTED: Final = (type(None), int, float, str, bytes)


class Sqlite:
    """The database of one row."""

    syntax = SQLITE

    def __init__(self, row: SourceSettings) -> None:
        self._lock_time = row.timeout

    async def open(self, server: SourceServer, patience: float) -> SqliteConnection:
        """See `Database`."""
        connection = SqliteConnection(server.path, patience)
        try:
            await connection.connect(self._lock_time)
        except BaseException:
            connection.abort()
            raise
        return connection

    def file(self, server: SourceServer) -> str:
        """See `Database`."""
        return str(stamp_of(Path(server.path)).inode)

    def stamp(self, server: SourceServer) -> str:
        """See `Database`."""
        stamps = [stamp_of(Path(server.path + suffix)) for suffix in _FILES]
        return "" if stamps[0] == NONE else " ".join(str(number) for stamp in stamps for number in stamp)


class SqliteConnection:
    """One connection and its thread; see `Connection`."""

    version = f"SQLite {sqlite3.sqlite_version}"

    def __init__(self, path: str, patience: float) -> None:
        self._path = path
        self._patience = patience
        self._thread = ThreadPoolExecutor(1, "sqlite")
        self._base: sqlite3.Connection | None = None
        self._over = False

    async def connect(self, lock_time: float) -> None:
        """Open the file."""
        self._base = await self._call(self._connect, lock_time)
        await self._call(self._base.execute, "SELECT 1 FROM sqlite_schema LIMIT 1")

    def _connect(self, lock_time: float) -> sqlite3.Connection:
        uri = f"file:{quote(self._path)}?mode=ro"
        base = sqlite3.connect(uri, uri=True, timeout=lock_time, check_same_thread=False, isolation_level=None)
        base.text_factory = _text
        # Unlike `interrupt`, it ends a query as well that the thread has not begun yet.
        base.set_progress_handler(lambda: self._over, _STEPS)
        return base

    async def read(self, query: Query, values: Mapping[str, object]) -> AsyncGenerator[Rows, None]:
        """See `Connection`."""
        cursor = await self._execute(query, values)
        names = tuple(column[0] for column in cursor.description)
        part, first = await self._call(cursor.fetchmany, PART), True
        while part or first:
            yield Rows(names, part)
            first = False
            part = await self._call(cursor.fetchmany, PART)
        await self._call(cursor.close)

    async def ask(self, query: Query, values: Mapping[str, object]) -> Rows:
        """See `Connection`."""
        cursor = await self._execute(query, values)
        rows = Rows(tuple(column[0] for column in cursor.description), await self._call(cursor.fetchmany, PART))
        await self._call(cursor.close)
        return rows

    async def close(self) -> None:
        """See `Connection`."""
        self.abort()

    def abort(self) -> None:
        """See `Connection`."""
        base, self._base, self._over = self._base, None, True
        if base is not None:
            self._thread.submit(base.close)
        self._thread.shutdown(wait=False)

    async def _execute(self, query: Query, values: Mapping[str, object]) -> sqlite3.Cursor:
        base = self._base
        if base is None:
            raise SourceError(f"{self._path}: it is closed")
        arguments = [value if isinstance(value, _CONVERTED) else str(value) for value in query.arguments(values)]
        cursor = await self._call(base.execute, query.text, arguments)
        if cursor.description is None:
            raise SourceError(f"{query.setting}: it gives no rows; write a SELECT")
        return cursor

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        with outages(self._path, _said):
            async with asyncio.timeout(self._patience):
                return await loop.run_in_executor(self._thread, lambda: function(*args, **kwargs))
        raise AssertionError  # outages never swallows


def _text(octets: bytes) -> str:
    """Return text; SQLite holds any octets as such."""
    return octets.decode(errors="replace")


def _said(error: BaseException) -> str | None:
    """Return what SQLite says: it has words of the query in it, and no values."""
    return str(error) if isinstance(error, sqlite3.Error) else None
