"""Reads a domain at one controller: whole where that is necessary, else what changed since the mark, as steps of a source.

Promises: a change during a full read is not missed, for the position is taken before it; an object that changed is read again before
it is said to be other than before. Everything is read again once a day, because some changes concern objects that do not change
themselves: rights, an organisational unit that is moved. Without the right to see deleted objects, those that are gone are found by
comparing all ids with the known ones. What a controller lacks that took over from another one is kept (`takeover`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat.directory.ad import delta
from mailmoat.directory.ad.controller import inspect, shows_deleted
from mailmoat.directory.ad.mark import Mark, Method
from mailmoat.directory.ad.reading import Reading
from mailmoat.directory.pause import pause
from mailmoat.directory.source import LARGEST_PART, Begin, Current, Delta, Kept, Part, Whole
from mailmoat.ldap.outcome import LdapError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from mailmoat.directory.ad.controller import Controller
    from mailmoat.directory.ad.delta import Changes
    from mailmoat.directory.ad.place import Place
    from mailmoat.directory.ad.takeover import Takeover
    from mailmoat.directory.source import Entry, KnownIds, Step
    from mailmoat.ldap.connection import Connection

FULL_READ_MS: Final = 24 * 60 * 60 * 1000
"""Everything is read again after this time."""
_AT_ONCE: Final = LARGEST_PART // 2
"""Objects of one delta."""


class Visit:
    """What is asked over one connection. `known` is what is known of the source, `mark` that of the last step before."""

    def __init__(
        self, connection: Connection, place: Place, known: KnownIds, mark: Mark | None, takeover: Takeover
    ) -> None:
        self.connection = connection
        self._place = place
        self._known = known
        self._mark = mark
        self._takeover = takeover

    async def context(self) -> str:
        """Return the naming context that is read. Raises ServerError."""
        return (await inspect(self.connection, self._place.base)).context

    async def steps(self, *, compare: bool) -> AsyncGenerator[Step]:
        """Yield what is new. `compare` allows a look for entries that are gone unseen, which costs as much as it has entries. Raises ServerError."""
        controller = await inspect(self.connection, self._place.base)
        reading = Reading(self.connection, controller, self._place)
        self._takeover.at(controller.invocation, self._mark)
        mark = self._mark
        if mark is not None and self._goes_on(mark, controller):
            try:
                async for step in self._changed(controller, reading, mark._replace(since_ms=self._takeover.since_ms)):
                    yield step
            except LdapError as error:
                if not delta.refused(error):
                    raise
            else:
                if compare and not await shows_deleted(self.connection, controller):
                    async for step in self._vanished(reading):
                        yield step
                return
        async for step in self._everything(controller, reading):
            yield step

    async def _everything(self, controller: Controller, reading: Reading) -> AsyncIterator[Step]:
        """Yield a full read, and what changed meanwhile."""
        if not self._takeover.recent:
            self._takeover.end()
        mark = await delta.mark_now(self.connection, controller, clock.wall_ms())
        mark = mark._replace(since_ms=self._takeover.since_ms)
        async for step in self._full(reading, mark):
            yield step
        async for step in self._changed(await inspect(self.connection, self._place.base), reading, mark):
            yield step

    def _goes_on(self, mark: Mark, controller: Controller) -> bool:
        """Return whether it is enough to ask what changed since `mark`.

        Update sequence numbers give each object that was touched, so what the controller lacked of it must be known. What it
        lacks still when the time to get it is over is removed by a full read.
        """
        known = mark.method is Method.DIRSYNC or self._takeover.compared
        return known and not self._takeover.over and delta.continues(mark, controller) and _is_recent(mark.whole_ms)

    async def _full(self, reading: Reading, mark: Mark) -> AsyncIterator[Step]:
        there: set[bytes] = set()
        yield Begin()
        async for found in reading.everything():
            if found.left_out:
                yield found.left_out
            entries = tuple(entry for entry in found.entries if entry.addresses)
            if self._takeover.recent:
                there.update(entry.id for entry in entries)
                entries = tuple(map(self._kept, entries))
            yield Part(entries)
        if self._takeover.recent:
            async for part in self._lacked(reading, there):
                yield part
            self._takeover.compared = True
        self._mark = mark
        yield Whole(mark.encode())

    def _said(self) -> Iterator[Kept]:
        """Yield how much is kept that the controller lacks, where that is something else than was said before."""
        lacked = self._takeover.lacked
        if lacked == self._takeover.said:
            return
        self._takeover.said = lacked
        behind = f"{self.connection.server.text} serves in place of another controller and may be behind"
        yield Kept(
            lacked,
            f"{behind}: {lacked} entries that it lacks, or addresses of which, are kept for a day" if lacked else "",
        )

    def _kept(self, entry: Entry) -> Entry:
        """Return an entry of the full read, with the addresses by which it is known besides."""
        before = self._known.entry(entry.id)
        if before is not None:
            self._takeover.lacks(before, entry.addresses)
        return self._takeover.completed(entry)

    async def _lacked(self, reading: Reading, there: set[bytes]) -> AsyncIterator[Part]:
        """Yield entries that are known and that the controller, which took over, has neither as recipients nor as deleted."""
        lacked = await self._not_in(there)
        for start in range(0, len(lacked), _AT_ONCE):
            some = lacked[start : start + _AT_ONCE]
            deleted = await reading.deleted(some)
            known = [self._known.entry(one) for one in some if one not in deleted]
            entries = tuple(entry for entry in known if entry is not None)
            for entry in entries:
                self._takeover.lacks(entry)
            yield Part(entries)

    async def _changed(self, controller: Controller, reading: Reading, mark: Mark) -> AsyncIterator[Step]:
        """Yield what changed since `mark`, all of it together, with the mark that was reached."""
        before = mark.encode()
        wanted, watched = self._place.mapping.any_kind, self._place.watched
        async for changes in delta.since(self.connection, controller, mark, wanted, watched):
            async for step in self._read_again(reading, changes, before):
                yield step
            mark = changes.mark
        self._mark = mark
        for kept in self._said():
            yield kept
        yield Current(mark.encode())

    async def _read_again(self, reading: Reading, changes: Changes, cookie: bytes) -> AsyncIterator[Step]:
        """Yield objects that changed as they are now, as parts of one change."""
        for one in changes.deleted:
            self._takeover.gone(one)
        ids = [*changes.changed, *(one for one in changes.deleted if one in self._known)]
        for start in range(0, len(ids), _AT_ONCE):
            asked = ids[start : start + _AT_ONCE]
            found = await reading.again(asked)
            if found.left_out:
                yield found.left_out
            entries = [self._takeover.completed(entry) for entry in found.entries if entry.addresses]
            changed = tuple(filter(self._differs, entries))
            there = {entry.id for entry in entries}
            removed = tuple(
                one for one in asked if one not in there and one in self._known and one not in self._takeover
            )
            if changed or removed:
                yield Delta(changed, removed, cookie, more=True)

    def _differs(self, entry: Entry) -> bool:
        """Return whether an entry is other than it is known, so that a change of its other attributes makes no delta."""
        before = self._known.entry(entry.id)
        return before is None or (before.name, set(before.addresses)) != (entry.name, set(entry.addresses))

    async def _vanished(self, reading: Reading) -> AsyncIterator[Step]:
        """Yield the removal of entries that are known and not there any more."""
        there: set[bytes] = set()
        async for ids in reading.ids():
            there.update(ids)
        gone = await self._not_in(there)
        if not self._takeover.compared:
            for entry in filter(None, map(self._known.entry, gone)):
                self._takeover.lacks(entry)
            self._takeover.compared = True
            for kept in self._said():
                yield kept
        gone = [one for one in gone if one not in self._takeover]
        if self._mark is None:
            return
        cookie = self._mark.encode()
        for start in range(0, len(gone), LARGEST_PART):
            yield Delta((), tuple(gone[start : start + LARGEST_PART]), cookie, more=start + LARGEST_PART < len(gone))

    async def _not_in(self, there: set[bytes]) -> list[bytes]:
        """Return the ids of entries that are known and not among these."""
        others = []
        for count, one in enumerate(self._known):
            if one not in there:
                others.append(one)
            if count % LARGEST_PART == 0:
                await pause()
        return others


def _is_recent(whole_ms: int) -> bool:
    """Return whether a full read is still good enough; one in the future is of a clock that was wrong."""
    return 0 <= clock.wall_ms() - whole_ms < FULL_READ_MS
