"""Tries a database for `mailmoat check-config`: each server, each query, and what they give. Reads a few rows only, and counts the rest in the database."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from mailmoat.directory.source import ProbeResult
from mailmoat.directory.sql.highest import Highest
from mailmoat.directory.sql.placeholders import Query
from mailmoat.directory.sql.rows import Columns, Reader
from mailmoat.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from mailmoat.directory.sql.connection import Connection, Database, Rows
    from mailmoat.settings.sections.directories import SourceSettings
    from mailmoat.settings.source_url import SourceServer

    Connect: TypeAlias = Callable[[], Awaitable[Connection]]

T = TypeVar("T")
_SAMPLE: Final = 3


async def probe(row: SourceSettings, database: Database, query: Query, changes: Query | None) -> ProbeResult:
    """Return what the first server that answers has; SourceError with what each said when none does."""

    async def probe_one(connect: Connect) -> ProbeResult:
        return await _probe_one(connect, query, changes, row.default_domain)

    probed, server = await first_server(row, database, probe_one)
    return probed._replace(server=server.server, remarks=(*server.remarks, *probed.remarks))


async def first_server(
    row: SourceSettings, database: Database, probe_one: Callable[[Connect], Awaitable[T]]
) -> tuple[T, ProbeResult]:
    """Return what `probe_one` finds at the first server that answers, which server that is, and why not those before it."""
    failures: list[str] = []
    for server in row.url.servers:

        async def connect(server: SourceServer = server) -> Connection:
            return await database.open(server, row.query_timeout)

        try:
            version = (await _closed(connect)).version
            found = await probe_one(connect)
        except SourceError as error:
            failures.append(str(error))
        else:
            return found, ProbeResult(f"{server} ({version})", remarks=tuple(failures))
    raise SourceError("; ".join(failures))


async def _closed(connect: Connect) -> Connection:
    """Return a connection that was made and is closed."""
    connection = await connect()
    await connection.close()
    return connection


async def _probe_one(connect: Connect, query: Query, changes: Query | None, default_domain: str | None) -> ProbeResult:
    first = await _first(connect, query, {})
    columns = Columns.of(query.setting, first.names, changes=changes is not None)
    highest = Highest()
    reader = Reader(columns, highest, default_domain)
    entries = [*reader.read(first.rows), *reader.end()]
    sample = tuple(entry for entry in entries if entry.addresses)[:_SAMPLE]
    rows, keys = await _counts(connect, query, columns)
    remarks = list(_remarks(reader, columns, rows, keys))
    if changes is not None:
        remarks += await _changes_remarks(connect, changes, highest)
    return ProbeResult("", f"{rows} rows of query", keys, sample, tuple(remarks))


async def _first(connect: Connect, query: Query, values: Mapping[str, object]) -> Rows:
    """Return the first part of a result, and leave the rest with its connection."""
    connection = await connect()
    try:
        async with aclosing(connection.read(query, values)) as parts:
            return await anext(parts)
    finally:
        connection.abort()


async def _counts(connect: Connect, query: Query, columns: Columns) -> tuple[int, int]:
    """Return how many rows a query gives, and how many different keys they have."""
    key = "address" if columns.id is None else "id"
    text = f"SELECT count(*), count(DISTINCT {key}) FROM ({query.text}\n) AS found"  # noqa: S608 - the administrator's own
    counted = await _first(connect, Query(query.setting, text, ()), {})
    rows, keys = counted.rows[0]
    return int(str(rows)), int(str(keys))


def _remarks(reader: Reader, columns: Columns, rows: int, keys: int) -> Iterator[str]:
    left_out = reader.left_out()
    if left_out is not None:
        yield f"query: {left_out.entries} of the first rows cannot be used, such as: {left_out.example}"
    if columns.id is not None and keys < rows:
        yield f"query: {rows} rows have {keys} different ids; write ORDER BY id, so that rows of one id follow each other"
    if columns.active is None and columns.deleted is None:
        yield "query: it has neither active nor deleted; what is disabled must not be among its rows"


async def _changes_remarks(connect: Connect, changes: Query, highest: Highest) -> list[str]:
    if highest.value is None:
        return ["changes_query: the column changed has no value, so that it is not used"]
    found = await _first(connect, changes, {"since": highest.value})
    columns = Columns.of(changes.setting, found.names, changes=True)
    if columns.active is None and columns.deleted is None:
        return ["changes_query: it has neither active nor deleted; what is removed is noticed after full_interval"]
    return []
