"""A source within the bounds of its row: only what the row may list comes out of it. All that reads or asks a source does so through here.

Promises: see `bounds`. What is left out is counted, and reported with one example of a kind: for each full read, and once for what changes. The
entries that are known of a source are those within its bounds, but as many as it has.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from mailmoat.directory.bounds import Bounds, Kind
from mailmoat.directory.opening import open_live, open_sync
from mailmoat.directory.source import Begin, Closing, Delta, LeftOut, Part, Remarked, Whole

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator

    from mailmoat._native import Address
    from mailmoat.directory.bounds import Refusal
    from mailmoat.directory.source import Entry, KnownIds, LiveAnswer, LiveSource, Step, SyncSource
    from mailmoat.settings import Settings
    from mailmoat.settings.sections.directories import SourceSettings

_MOST_REPORTED: Final = 1000
"""Sentences about changes that are not repeated."""


class Refusals:
    """What was left out, by kind: how much, and the first sentence."""

    def __init__(self) -> None:
        self._kinds: dict[Kind, LeftOut] = {}

    def add(self, refusal: Refusal) -> None:
        """Count one more."""
        counted = self._kinds.get(refusal.kind, LeftOut(0, refusal.sentence))
        self._kinds[refusal.kind] = counted._replace(entries=counted.entries + 1)

    def take(self) -> list[LeftOut]:
        """Return what was counted since this was asked last."""
        taken, self._kinds = list(self._kinds.values()), {}
        return taken


class Bounded:
    """What both have in common."""

    def __init__(self, source: SyncSource | LiveSource) -> None:
        self.unbounded = source
        """The source itself. Only it can be `Probed`: a probe shows what is there, within the bounds or not."""

    async def close(self) -> None:
        """See `Closing`."""
        if isinstance(self.unbounded, Closing):
            await self.unbounded.close()


class BoundedSync(Bounded):
    """See `SyncSource`."""

    def __init__(self, source: SyncSource, bounds: Bounds) -> None:
        super().__init__(source)
        self._source = source
        self._bounds = bounds
        self._refused = Refusals()
        self._reported: set[str] = set()

    async def steps(self, cookie: bytes | None, known: KnownIds) -> AsyncGenerator[Step]:
        """See `SyncSource`."""
        seen = _Known(known)
        steps: AsyncIterator[Step] = self._source.steps(cookie, seen)
        async with aclosing(steps):  # type: ignore[type-var] # a generator
            async for step in steps:
                within = self._within(step, seen)
                if isinstance(within, Delta | Whole):
                    for left_out in self._refused.take():
                        yield left_out
                yield within

    def _within(self, step: Step, seen: _Known) -> Step:
        """Return what counts of a step; what does not is counted."""
        match step:
            case Begin():
                seen.emptied = 0
                self._refused = Refusals()
            case Part(entries=entries):
                return Part(tuple(self._read(entry, seen) for entry in entries))
            case Whole(entries=came) if came is not None:
                return step._replace(entries=came - seen.emptied)
            case Delta(changed=entries):
                return step._replace(changed=tuple(map(self._changed, entries)))
        return step

    def _read(self, entry: Entry, seen: _Known) -> Entry:
        """Return an entry of a full read."""
        kept, refusals = self._bounds.entry(entry)
        seen.emptied += bool(entry.addresses and not kept.addresses)
        for refusal in refusals:
            self._refused.add(refusal)
        return kept

    def _changed(self, entry: Entry) -> Entry:
        """Return an entry that changed. Sources that compare it with what is known give it again and again."""
        kept, refusals = self._bounds.entry(entry)
        for refusal in refusals:
            if refusal.sentence not in self._reported:
                if len(self._reported) >= _MOST_REPORTED:
                    self._reported.clear()
                self._reported.add(refusal.sentence)
                self._refused.add(refusal)
        return kept


class _Known:
    """What is known of a source, and how many entries it has."""

    def __init__(self, known: KnownIds) -> None:
        self._known = known
        self.emptied = 0
        """Entries of the last full read of which nothing counts."""

    def __contains__(self, entry_id: object, /) -> bool:
        return entry_id in self._known

    def __len__(self) -> int:
        return len(self._known) + self.emptied

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._known)

    def entry(self, entry_id: bytes) -> Entry | None:
        """See `KnownIds`."""
        return self._known.entry(entry_id)


class BoundedLive(Bounded):
    """See `LiveSource`. `left_out` is called with the first refusal of a kind."""

    def __init__(self, source: LiveSource, bounds: Bounds, left_out: Callable[[LeftOut], None]) -> None:
        super().__init__(source)
        self._source = source
        self._bounds = bounds
        self._left_out = left_out
        self._first: dict[Kind, LeftOut] = {}

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was left out, a sentence for each kind, and what the source itself remarks."""
        left_out = (f"{one.entries} left out, such as: {one.example}" for one in self._first.values())
        return (*left_out, *(self._source.remarks if isinstance(self._source, Remarked) else ()))

    async def lookup(self, address: Address) -> LiveAnswer:
        """See `LiveSource`."""
        answer, refusals = self._bounds.answer(address, await self._source.lookup(address))
        for kind, sentence in refusals:
            before = self._first.get(kind)
            self._first[kind] = LeftOut(before.entries + 1 if before else 1, before.example if before else sentence)
            if before is None:
                self._left_out(self._first[kind])
        return answer


def open_bounded_sync(settings: Settings, row: SourceSettings) -> BoundedSync:
    """Return the synchronised source of a merged row, within its bounds. SourceError as `open_sync`."""
    return BoundedSync(open_sync(row, settings.normalisation), Bounds.of(settings, row))


def open_bounded_live(
    settings: Settings, row: SourceSettings, left_out: Callable[[LeftOut], None] = lambda _: None
) -> BoundedLive:
    """Return the live source of a merged row, within its bounds. SourceError as `open_live`."""
    return BoundedLive(open_live(row), Bounds.of(settings, row), left_out)
