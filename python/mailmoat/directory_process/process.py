"""The directory process: reads the synchronised sources into their tables and says how fresh they are.

Runs in a fresh child, root already dropped, only where `[[directories]]` has a row; client libraries are imported here and nowhere else in a server.
It owns no message and no port: it may end at any time, and goes on from its tables when it is started again. While one of an older generation
still runs, it waits for its lock, so that a table has one writer. Ends at SIGTERM or with the lifeline.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import signal
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from mailmoat import clock, maillog
from mailmoat.control.channel import ControlError
from mailmoat.control.server import Control
from mailmoat.directory.freshness import Freshness, SourceFreshness, SyncState, read, write
from mailmoat.directory.identity import Identity, live_digest
from mailmoat.directory.inputs import table_inputs
from mailmoat.directory.paths import directory_of, freshness_path, live_path, table_path
from mailmoat.directory.pause import pause
from mailmoat.directory.snapshot import SNAPSHOT_NAME
from mailmoat.directory.source import Closing
from mailmoat.directory.unopened import Unopened
from mailmoat.directory_process.bounded import open_bounded_sync
from mailmoat.directory_process.keeper import Keeper
from mailmoat.directory_process.live.lookups import LiveLookups
from mailmoat.directory_process.live.opening import live_rows
from mailmoat.directory_process.live.server import LiveServer
from mailmoat.directory_process.restoring import restore
from mailmoat.directory_process.set_aside import set_aside
from mailmoat.directory_process.table import Table
from mailmoat.errors import DirectoryError, SourceError
from mailmoat.events import Event
from mailmoat.files import make_directory
from mailmoat.runtime import faults
from mailmoat.runtime.timers import Timers
from mailmoat.settings.sections.directories import sources, why_not_synchronised

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.control.channel import Document
    from mailmoat.directory.freshness import LiveState, SourceFreshness
    from mailmoat.directory.source import SyncSource
    from mailmoat.settings import Settings
    from mailmoat.settings.sections.directories import SourceSettings

LOCK_NAME: Final = "lock"
LOCK_TIME: Final = 0.2
"""Seconds between two tries to get the lock."""
NOTE_TIME: Final = 0.1
"""Seconds in which changes of the freshness become one write."""
TICK: Final = 5.0
"""Seconds between two looks at the age of the sources."""


def run(settings: Settings, *, ready: Callable[[], None], lifeline: int, changed: int) -> None:
    """Serve until a signal ends the process; `changed` is an eventfd to which every change of a table is added."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        loop = runner.get_loop()
        maillog.bind_loop(loop)
        loop.set_exception_handler(faults.loop_failed)
        # As in a worker: each live lookup makes objects, among thousands of others, that no cycle keeps.
        gc.set_threshold(50_000, 20, 100)
        try:
            runner.run(_serve(loop, settings, ready, lifeline, changed))
        finally:
            maillog.close()


async def _serve(
    loop: asyncio.AbstractEventLoop, settings: Settings, ready: Callable[[], None], lifeline: int, changed: int
) -> None:
    ending = asyncio.Event()

    def orphaned() -> None:
        loop.remove_reader(lifeline)
        ending.set()

    loop.add_reader(lifeline, orphaned)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    ready()
    serving = loop.create_task(DirectoryProcess(loop, settings, changed).serve())
    waiting = loop.create_task(ending.wait())
    await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()  # the error that ended it
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


class DirectoryProcess:
    """The sources of one generation."""

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Settings, changed: int) -> None:
        self._loop, self._settings = loop, settings
        self._rows = sources(settings.directory, settings.directories)
        self._inputs = {table.name: table for table in table_inputs(settings)}
        self._changed_descriptor = changed
        self._directory = directory_of(settings.spool_dir)
        self._control = Control(loop, {"directory.sync": self._sync}, Timers(loop, faults.deadline_failed))
        self._keepers: dict[str, Keeper] = {}
        """By the name of their source, once its table could be opened."""
        self._unopened: dict[str, SourceFreshness] = {}
        """The others."""
        self._before = Freshness()
        """What the directory process before this one said of its sources."""
        self._live: LiveServer | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._stale: set[str] = set()
        self._away: set[str] = set()
        """Live sources whose outage was logged."""

    async def serve(self) -> None:
        """Work until cancelled. DirectoryError, OSError: the disk does not take what is read."""
        make_directory(self._directory)
        lock = os.open(self._directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _locked(lock):
                await pause(LOCK_TIME)
            await self._work()
        finally:
            os.close(lock)

    async def _work(self) -> None:
        self._before = read(freshness_path(self._settings.spool_dir))
        synchronised = [row for row in self._rows if row.mode == "sync"]
        self._remove_others({table_path(self._settings.spool_dir, row.name).name for row in synchronised})
        for row in synchronised:
            self._open(row)
        self._write()
        await self._control.follow([self._directory])
        rows = live_rows(self._settings)
        try:
            if rows:
                lookups = LiveLookups(rows, self._answers)
                self._live = LiveServer(live_path(self._settings.spool_dir), live_digest(self._settings), lookups)
                await self._live.start()
            async with asyncio.TaskGroup() as group:
                for row in synchronised:
                    group.create_task(self._keep(row))
                group.create_task(self._watch())
        finally:
            await self._close()

    async def _close(self) -> None:
        self._control.close()
        if self._live is not None:
            await self._live.close()
        for keeper in self._keepers.values():
            if isinstance(keeper.source, Closing):
                await keeper.source.close()
            keeper.table.close()
        if self._writing is not None:
            self._writing.cancel()
        self._write()

    def _remove_others(self, names: set[str]) -> None:
        """Remove the tables of sources that the settings do not name any more; `names` are those of the synchronised ones.

        Those of sources that are live for now may be synchronised again.
        """
        live = ((table_path(self._settings.spool_dir, row.name), row) for row in self._rows if row.mode == "live")
        names |= {path.name for path, row in live if set_aside(path, str(row.url))}
        for path in self._directory.glob("*.db*"):
            if path.name.partition(".db")[0] + ".db" not in names:
                with suppress(OSError):  # it is in nobody's way
                    path.unlink()

    async def _keep(self, row: SourceSettings) -> None:
        """Keep the table of a source; one that cannot be opened stops no other one."""
        while row.name not in self._keepers:
            await pause(TICK)
            self._open(row)
        await self._keepers[row.name].run()

    def _open(self, row: SourceSettings) -> None:
        """Open the table of a source, or note why it cannot be opened: what was read of it is in the snapshot, as in an outage."""
        try:
            keeper = self._opened_keeper(row)
        except DirectoryError as error:
            self._note_unopened(row, str(error))
            return
        self._unopened.pop(row.name, None)
        self._keepers[row.name] = keeper

    def _opened_keeper(self, row: SourceSettings) -> Keeper:
        spool_dir, source = self._settings.spool_dir, _opened(self._settings, row)
        table = Table(table_path(spool_dir, row.name), Identity.of(self._settings, row))
        kept = partial(restore, snapshot=spool_dir / SNAPSHOT_NAME, source=self._inputs[row.name])
        before = self._before.of(row.name)
        try:
            return Keeper(row, source, table, changed=self._changed, noted=self._noted, restore=kept, before=before)
        except DirectoryError:
            table.close()
            raise

    def _note_unopened(self, row: SourceSettings, reason: str) -> None:
        known = self._unopened.get(row.name) or self._before.of(row.name)
        if (known.state, known.reason) != (SyncState.FAILED, reason):
            maillog.event(Event.DIRECTORY_SOURCE_FAILED, source=row.name, reason=SyncState.FAILED, detail=reason)
            known.since_ms = clock.wall_ms()
        known.state, known.reason = SyncState.FAILED, reason
        self._unopened[row.name] = known
        self._noted()

    def _answers(self, state: LiveState) -> None:
        """Log that an outage of a live source begins, or that of another of its servers, and that all are over: not its first answer."""
        self._noted()
        if state.error:
            maillog.event(Event.DIRECTORY_SOURCE_FAILED, source=state.name, reason=SyncState.FAILED, detail=state.error)
        elif state.name in self._away:
            maillog.event(Event.DIRECTORY_SOURCE_BACK, source=state.name)
        (self._away.add if state.error else self._away.discard)(state.name)

    def _changed(self) -> None:
        os.eventfd_write(self._changed_descriptor, 1)

    def _noted(self) -> None:
        if self._writing is None:
            self._writing = self._loop.call_later(NOTE_TIME, self._write)

    def _write(self) -> None:
        self._writing = None
        live = self._live.lookups.report() if self._live is not None else ()
        opened = {name: keeper.freshness for name, keeper in self._keepers.items()} | self._unopened
        known = Freshness(tuple(opened[row.name] for row in self._rows if row.name in opened), live)
        try:
            write(freshness_path(self._settings.spool_dir), known)
        except OSError as error:  # then everything becomes too old, as it should
            maillog.event(Event.DIRECTORY_DISK_FAILED, detail=f"{self._directory}: {error.strerror}")

    async def _watch(self) -> None:
        """Log each source that becomes too old; read one anew whose table somebody has removed."""
        while True:
            for keeper in self._keepers.values():
                if not keeper.table.is_there:
                    keeper.sync()
                row, age = keeper.row, keeper.freshness.age(clock.wall_ms())
                stale = keeper.freshness.synced_ms > 0 and age > row.max_age
                if stale and row.name not in self._stale:
                    detail = keeper.freshness.reason
                    maillog.event(Event.DIRECTORY_SOURCE_STALE, source=row.name, detail=detail, age=round(age))
                (self._stale.add if stale else self._stale.discard)(row.name)
            if self._live is not None:
                self._noted()
            await pause(TICK)

    def _sync(self, arguments: Document) -> Document:
        """Read the named source whole now, or each."""
        name, accept_shrink = arguments.get("name"), arguments.get("accept_shrink") is True
        chosen = [keeper for keeper in self._keepers.values() if name in (None, keeper.row.name)]
        if not chosen:
            raise ControlError("no source is synchronised" if name is None else why_not_synchronised(name, self._rows))
        for keeper in chosen:
            keeper.sync(accept_shrink=accept_shrink)
        return {"asked": [keeper.row.name for keeper in chosen]}


def _opened(settings: Settings, row: SourceSettings) -> SyncSource:
    try:
        return open_bounded_sync(settings, row)
    except SourceError as error:
        return Unopened(error)


def _locked(descriptor: int) -> bool:
    """Return whether the lock is ours; it ends with the process."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
