"""A database as a synchronised source: read whole by `query`, and then what changed by `changes_query`.

Every read is one query in one read-only transaction. A server that fails is left for the next one in the order of preference; a full read then
begins anew. Without `changes_query` each read is a full one, except of an SQLite file that nobody wrote to. With a channel for NOTIFY the source
goes on for ever, and reads whenever there is a notification, or the interval is over.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from mailmoat import clock
from mailmoat.directory.failover import follow
from mailmoat.directory.pause import pause
from mailmoat.directory.preference import Preference
from mailmoat.directory.source import LARGEST_PART, Begin, Current, Delta, LeftOut, Part, Using, Whole
from mailmoat.directory.sql.databases import database_of
from mailmoat.directory.sql.highest import Highest
from mailmoat.directory.sql.placeholders import prepare
from mailmoat.directory.sql.position import Position
from mailmoat.directory.sql.probe import probe
from mailmoat.directory.sql.rows import Columns, Reader

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from mailmoat._native import Normalisation
    from mailmoat.directory.source import Entry, KnownIds, ProbeResult, Step
    from mailmoat.directory.sql.connection import Connection, Notified
    from mailmoat.directory.sql.placeholders import Query
    from mailmoat.settings.sections.directories import SourceSettings
    from mailmoat.settings.source_url import SourceServer

SHORTEST_PAUSE: Final = 0.5
"""Seconds between two reads because of notifications."""
_SHARE: Final = 4
"""Times the last full read, where the next one is a full one as well."""


@dataclass(slots=True)
class _Reading:
    """What is noted of one query while its rows come."""

    highest: Highest
    begun_ms: int = field(default_factory=clock.wall_ms)
    by_id: bool = False
    """The rows have a key."""
    entries: int = 0
    """Those that get mail."""

    def count(self, entries: list[Entry]) -> None:
        self.entries += sum(1 for entry in entries if entry.addresses)


class SqlSync:
    """The database of one row; see `SyncSource`."""

    def __init__(self, row: SourceSettings, normalisation: Normalisation) -> None:
        self._row = row
        self._normalisation = normalisation
        self._database = database_of(row)
        self._preference: Preference[SourceServer] = Preference(row.url.servers)
        syntax = self._database.syntax
        self._query = prepare("query", row.query or "", (), syntax)
        self._changes = prepare("changes_query", row.changes_query, ("since",), syntax) if row.changes_query else None
        self._position: Position | None = None

    def steps(self, cookie: bytes | None, known: KnownIds) -> AsyncGenerator[Step, None]:
        """See `SyncSource`."""
        return follow(self._preference, cookie, partial(self._at, known), self._returns)

    async def probe(self) -> ProbeResult:
        """See `Probed`."""
        return await probe(self._row, self._database, self._query, self._changes)

    async def _at(self, known: KnownIds, server: SourceServer, cookie: bytes | None) -> AsyncGenerator[Step, None]:
        """Yield the steps of one server; with a channel, until it is time to try a preferred one."""
        self._position = Position.of(cookie)
        stamp = self._database.stamp(server)
        if self._position is not None and stamp and stamp == self._position.stamp:
            yield Current(self._position.cookie())
            return
        connection = await self._database.open(server, self._row.query_timeout)
        try:
            yield Using(str(server))
            again = True
            while again:
                begun = clock.monotonic()
                async with aclosing(self._read(connection, known, stamp)) as steps:
                    async for step in steps:
                        yield step
                again = await self._notified(connection, clock.monotonic() - begun)
                again = again and not self._preference.before(server)
        except BaseException:
            connection.abort()
            raise
        await connection.close()

    async def _returns(self, server: SourceServer) -> bool:
        """Return whether to go on at a preferred server; without a channel, that is tried at the next read."""
        return self._row.notify_channel is not None and bool(self._preference.before(server))

    async def _notified(self, connection: Connection, took: float) -> bool:
        """Wait for a notification, or for the interval; return whether there is a channel."""
        if self._row.notify_channel is None:
            return False
        await pause(SHORTEST_PAUSE if self._changes else max(SHORTEST_PAUSE, _SHARE * took))
        await cast("Notified", connection).notified(self._row.interval)
        return True

    def _read(self, connection: Connection, known: KnownIds, stamp: str) -> AsyncGenerator[Step, None]:
        position, changes = self._position, self._changes
        if changes is None or position is None or position.since is None:
            return self._all(connection, stamp)
        if clock.wall_ms() - position.full_ms >= self._row.full_interval * 1000:
            return self._all(connection, stamp)
        return self._changed(connection, known, changes, position)

    async def _all(self, connection: Connection, stamp: str) -> AsyncGenerator[Step, None]:
        reading = _Reading(Highest())
        yield Begin()
        async with aclosing(self._entries(connection, self._query, {}, reading)) as found:
            async for step in found:
                yield step if isinstance(step, LeftOut) else Part(tuple(step))
        self._position = Position(reading.begun_ms, reading.highest.value, clock.wall_ms(), stamp=stamp)
        yield Whole(self._position.cookie(), reading.entries if reading.by_id else None)

    async def _changed(
        self, connection: Connection, known: KnownIds, query: Query, position: Position
    ) -> AsyncGenerator[Step, None]:
        overlap = self._row.changes_overlap
        reading = _Reading(Highest(position.since))
        changed: list[Entry] = []
        removed: list[bytes] = []
        async with aclosing(
            self._entries(connection, query, {"since": position.asked_from(overlap)}, reading)
        ) as found:
            async for step in found:
                if isinstance(step, LeftOut):
                    yield step
                    continue
                for entry in step:
                    _sort(entry, known, changed, removed)
                    if len(changed) + len(removed) == LARGEST_PART:
                        yield Delta(tuple(changed), tuple(removed), position.cookie(), more=True)
                        changed, removed = [], []
        self._position = position.after(reading.highest.value, reading.begun_ms, overlap)
        cookie = self._position.cookie()
        yield Delta(tuple(changed), tuple(removed), cookie) if changed or removed else Current(cookie)

    async def _entries(
        self, connection: Connection, query: Query, values: Mapping[str, object], reading: _Reading
    ) -> AsyncGenerator[list[Entry] | LeftOut, None]:
        """Yield the entries of a query in parts that are not empty, and what was left out of them."""
        reader: Reader | None = None
        async with aclosing(connection.read(query, values)) as parts:
            async for part in parts:
                if reader is None:
                    columns = Columns.of(query.setting, part.names, changes=self._changes is not None)
                    reader = Reader(columns, reading.highest, self._row.default_domain, self._normalisation)
                    reading.by_id = columns.id is not None
                if entries := reader.read(part.rows):
                    reading.count(entries)
                    yield entries
        if reader is not None:
            if entries := reader.end():
                reading.count(entries)
                yield entries
            if left_out := reader.left_out():
                yield left_out


def _sort(entry: Entry, known: KnownIds, changed: list[Entry], removed: list[bytes]) -> None:
    """Put an entry where it belongs; one that is known as it is nowhere: rows come again while `:since` is earlier than they are."""
    was = known.entry(entry.id)
    if not entry.addresses:
        if was is not None:
            removed.append(entry.id)
    elif was is None or dict(was.addresses) != dict(entry.addresses):
        changed.append(entry)
