"""Keeps the table of one synchronised source: drives the source, applies its steps, waits, and goes on after a failure.

Promises: a source that fails, hangs, is empty or has lost too much changes nothing in what is known of it; what is known changes in whole steps; a failure
is logged once, and the next try comes after a second, then later and later, up to a minute or `interval`. `freshness` always says how it is. It
ends only when it is cancelled.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final, assert_never

from mailmoat import clock, maillog
from mailmoat.directory.freshness import SourceFreshness, SyncState
from mailmoat.directory.pause import pause
from mailmoat.directory.shrinkage import Losses, ShrinkGuard, ShrunkError
from mailmoat.directory.source import Begin, Current, Delta, Kept, LeftOut, Part, Remark, Using, Whole
from mailmoat.directory_process.notes import Notes
from mailmoat.directory_process.tightening import tighten
from mailmoat.errors import DirectoryError, SourceError
from mailmoat.events import Event
from mailmoat.growing_pause import next_pause

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mailmoat.directory.source import Step, SyncSource
    from mailmoat.directory_process.table import Table
    from mailmoat.settings.sections.directories import SourceSettings

SILENCE: Final = 600.0
"""Seconds, beside three times `interval`, after which a source that gives no step is given up."""
FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 60.0
"""Seconds between two tries of a source that fails."""


async def _nothing_kept(_: Table) -> bool:
    return False


class Keeper:
    """That of one row; `changed` is called when recipients changed, `noted` when `freshness` did, `restore` where the table may have been lost (`restoring`). `before` is what a directory process said of it before this one."""

    def __init__(
        self,
        row: SourceSettings,
        source: SyncSource,
        table: Table,
        *,
        changed: Callable[[], None],
        noted: Callable[[], None],
        restore: Callable[[Table], Awaitable[bool]] = _nothing_kept,
        before: SourceFreshness | None = None,
    ) -> None:
        self.row = row
        self.source = source
        self.table = table
        self._changed, self._noted, self._restore = changed, noted, restore
        self._guard = ShrinkGuard(row.shrink_limit)
        self._pause = 0.0
        """Seconds before the next try; 0 = the last one did not fail."""
        self._begun = 0.0
        self._gathered = 0, 0
        """Entries changed and removed by what is not in force yet."""
        self._full = self._accept = False
        """Of the next read, as the administrator asked."""
        self._accepting = False
        """Of the read that is under way."""
        self._wake = asyncio.Event()
        state = SyncState.SHRUNK if table.held else SyncState.NEW
        self.freshness = SourceFreshness(row.name, state, table.held, since_ms=clock.wall_ms())
        self._take_stock()
        self._notes = Notes(self.freshness, noted)
        if before is not None and self.table.synced_ms:  # the last full read counts on
            self._notes.go_on(before)

    def sync(self, *, accept_shrink: bool = False) -> None:
        """Read the source whole, now."""
        self._full, self._accept = True, accept_shrink
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self._wake.clear()
            working = asyncio.ensure_future(self._once())
            waking = asyncio.ensure_future(self._wake.wait())
            try:
                await asyncio.wait((working, waking), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (working, waking):
                    task.cancel()
                await asyncio.wait((working, waking))

    async def _once(self) -> None:
        """Read the source until it ends, and wait for the next time."""
        try:
            await self._follow()
        except ShrunkError as error:
            self._hold(str(error))
        except DirectoryError as error:
            self._fail(SyncState.FAILED, str(error))
        except Exception as error:  # noqa: BLE001 - one source that is broken must not stop the others
            maillog.event(Event.DIRECTORY_SOURCE_BROKEN, source=self.row.name, error=maillog.describe(error))
            self._fail(SyncState.FAILED, f"an error in mailmoat: {type(error).__name__}; please report it")
        else:
            self._pause = 0.0
        longest = (
            min(LONGEST_WAIT, self.row.interval) if self.freshness.state is SyncState.FAILED else self.row.interval
        )
        await pause(min(longest, self._pause) if self._pause else longest)

    async def _follow(self) -> None:
        full, self._full = self._full, False
        self._accepting, self._accept = self._accept, False  # if it fails, a later one may be half a result
        silence = SILENCE + 3 * self.row.interval
        self._gathered = 0, 0
        try:
            await self._take_over()
            await self._tighten()
            again = full or self.table.held  # the source may not repeat what was held back
            cookie = None if again else self.table.cookie
            async with aclosing(self.source.steps(cookie, self.table)) as steps:  # type: ignore[type-var] # a generator
                while True:
                    try:
                        async with asyncio.timeout(silence):
                            step = await anext(steps, None)
                    except TimeoutError:
                        raise SourceError(f"it gave no answer for {silence:.0f} s") from None
                    if step is None:
                        return
                    self._apply(step)
                    await pause()
                    while isinstance(step, Whole) and self.table.forget():
                        await pause()
        finally:
            self.table.undo()

    async def _take_over(self) -> None:
        """Take what is in force of the source into the table, where that is begun anew."""
        if not await self._restore(self.table):
            return
        self._take_stock()
        sentence = f"its table was lost; {self.table.entries} entries are known as they were, until it is read whole"
        self._notes.take(Remark(sentence))
        self._changed()
        self._noted()

    async def _tighten(self) -> None:
        """Put in force the bounds of the row, if they are new. What they take away is not lost, so the guard is not asked."""
        before, tightened = self.table.state, await tighten(self.table)
        if tightened is None or self.table.state == before:
            return
        changed, removed, left_out = tightened
        if changed or removed:
            maillog.event(
                Event.DIRECTORY_TIGHTENED,
                source=self.row.name,
                changed=changed,
                removed=removed,
                entries=self.table.entries,
            )
        for step in left_out:
            self._notes.take(step)
        self._take_stock()
        self.freshness.changed_ms = clock.wall_ms()
        self._changed()
        self._noted()

    def _apply(self, step: Step) -> None:
        match step:
            case Begin():
                self.table.begin()
                self._gathered = 0, 0
                self._begun = clock.monotonic()
                self._notes.begin()
            case Part(entries=entries):
                self.table.add(entries)
            case Whole(cookie=cookie, entries=came):
                self._check_ids(came)
                self._put_in_force(cookie)
            case Delta(changed=changed, removed=removed):
                self.table.apply(changed, removed)
                self._gathered = self._gathered[0] + len(changed), self._gathered[1] + len(removed)
                if not step.more:
                    self._change(step.cookie)
            case Current(cookie=cookie):
                self._change(cookie)
            case Using() | LeftOut() | Kept() | Remark():
                self._notes.take(step)
            case _:
                assert_never(step)

    def _check_ids(self, came: int | None) -> None:
        """Raise SourceError when a full read had entries with the id of another one: what the other one has would be missing."""
        if came is not None and self.table.read.entries < came:
            raise SourceError(
                f"{came} entries have {self.table.read.entries} different ids, as rows of one id do not follow each other;"
                " write ORDER BY id; the full read is not used"
            )

    def _put_in_force(self, cookie: bytes | None) -> None:
        before, after = self.table.stock, self.table.read
        if after.entries == 0:
            raise ShrunkError("it is empty; the full read is not used")
        try:
            losses = self._guard.whole(before, after, self.table.losses, clock.wall_ms())
        except ShrunkError as error:
            if not self._accepting:
                raise ShrunkError(f"{error}; the full read is not used; {self._remedy}") from None
            losses = Losses()
        self._accepting = False
        changed = self.table.swap(cookie, losses)
        seconds = self.freshness.read_seconds = round(clock.monotonic() - self._begun, 3)
        if changed or self.freshness.state is not SyncState.CURRENT:
            maillog.event(
                Event.DIRECTORY_READ,
                source=self.row.name,
                entries=after.entries,
                before=before.entries,
                seconds=seconds,
            )
        self._succeed(changed=changed)

    def _change(self, cookie: bytes | None) -> None:
        """Put in force what was gathered, if anything."""
        (changed, removed), self._gathered = self._gathered, (0, 0)
        if self.table.held and not (changed or removed):
            raise ShrunkError(self.table.held)
        losses = self._judged_removal() if changed or removed else None
        is_other = self.table.settle(cookie, losses)
        if is_other:
            maillog.event(
                Event.DIRECTORY_CHANGED,
                source=self.row.name,
                changed=changed,
                removed=removed,
                entries=self.table.entries,
            )
        self._succeed(changed=is_other)

    def _judged_removal(self) -> Losses:
        """Return what is lost with what was gathered. ShrunkError when that is too much."""
        table = self.table
        if table.before.entries > 1 and not table.entries:  # as of a full read that is empty, however few there were
            raise ShrunkError(f"all {table.before.entries} entries are gone at once; they are not removed")
        try:
            return self._guard.removal(table.before, table.gone, table.losses, clock.wall_ms())
        except ShrunkError as error:
            held = f"{table.gone.entries} entries and {table.gone.addresses} addresses are held back"
            raise ShrunkError(f"{error}; {held}; {self._remedy}") from None

    @property
    def _remedy(self) -> str:
        return f"if that is right, run: mailmoat directory sync {self.row.name} --accept-shrink"

    def _succeed(self, *, changed: bool) -> None:
        if self.freshness.state in (SyncState.FAILED, SyncState.SHRUNK):
            maillog.event(Event.DIRECTORY_SOURCE_BACK, source=self.row.name, server=self.freshness.server)
        self._pause = 0.0
        self._turn(SyncState.CURRENT, "")
        self._take_stock()
        if changed:
            self.freshness.changed_ms = clock.wall_ms()
            self._changed()
        self._noted()

    def _hold(self, reason: str) -> None:
        """Say why something is held back, until a full read or a change is in force."""
        with suppress(DirectoryError):  # on a full disk it is forgotten with this process alone
            self.table.hold(reason)
        self._fail(SyncState.SHRUNK, reason)

    def _fail(self, state: SyncState, reason: str) -> None:
        self._pause = next_pause(self._pause, FIRST_WAIT, max(LONGEST_WAIT, self.row.interval))
        self.freshness.failures += 1
        if (state, reason) != (self.freshness.state, self.freshness.reason):
            age = self.freshness.age(clock.wall_ms()) if self.freshness.synced_ms else None
            maillog.event(Event.DIRECTORY_SOURCE_FAILED, source=self.row.name, reason=state, detail=reason, age=age)
        self._turn(state, reason)
        self._noted()

    def _turn(self, state: SyncState, reason: str) -> None:
        if state is not self.freshness.state:
            self.freshness.since_ms = clock.wall_ms()
        self.freshness.state, self.freshness.reason = state, reason

    def _take_stock(self) -> None:
        """Say of the table what it is now."""
        self.freshness.synced_ms = self.table.synced_ms
        self.freshness.entries = self.table.entries
        self.freshness.table = self.table.state
