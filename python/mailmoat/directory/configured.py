"""Opens the configured directory: for a worker, and for a command that runs beside the server or without one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from mailmoat.directory.composed import ComposedDirectory
from mailmoat.directory.identity import live_digest
from mailmoat.directory.inputs import RecipientsCompiler
from mailmoat.directory.live.client import LiveClient
from mailmoat.directory.paths import live_path
from mailmoat.directory.snapshot import SNAPSHOT_NAME, SnapshotKeeper
from mailmoat.directory.snapshot_directory import SnapshotDirectory
from mailmoat.errors import ConfigError
from mailmoat.settings.sections.directories import sources

if TYPE_CHECKING:
    from mailmoat._native import Address
    from mailmoat.directory.live.wire import LiveReply
    from mailmoat.metrics import Metrics
    from mailmoat.settings import Settings

WorkerDirectory = SnapshotDirectory | ComposedDirectory
_OTHER: Final = "the server, which has other settings until mailmoat reload,"


class CommandClient:
    """Asks the directory process for a command: a connection for each lookup, on the loop that runs then."""

    def __init__(self, settings: Settings) -> None:
        self._path, self._digest = live_path(settings.spool_dir), live_digest(settings)
        self._seconds = live_seconds(settings)

    async def lookup(self, address: Address, client: str = "") -> LiveReply:
        """See `LiveClient`."""
        live = LiveClient(asyncio.get_running_loop(), self._path, self._digest, self._seconds)
        live.start()
        try:
            reply = await live.lookup(address, client)
            return reply._replace(source=_OTHER) if live.differs else reply
        finally:
            live.close()

    def close(self) -> None:
        """Do nothing: no connection is kept."""

    def publish(self) -> None:
        """Do nothing: a command has no gauges."""


def live_seconds(settings: Settings) -> float:
    """Return the time for an answer of all live sources; 0 when there are none."""
    times = [row.timeout for row in sources(settings.directory, settings.directories) if row.mode == "live"]
    return sum(times) + 0.5 if times else 0.0


def worker_directory(settings: Settings, loop: asyncio.AbstractEventLoop, metrics: Metrics) -> WorkerDirectory | None:
    """Return the directory of a worker; None when none is configured. It is to be refreshed now and then."""
    snapshot = _snapshot(settings, settings.spool_dir / SNAPSHOT_NAME)
    if not settings.directories:
        return snapshot
    seconds, live = live_seconds(settings), None
    if seconds:
        live = LiveClient(loop, live_path(settings.spool_dir), live_digest(settings), seconds, metrics=metrics)
        live.start()
    return ComposedDirectory(settings, snapshot, live)


def open_directory(settings: Settings) -> WorkerDirectory | None:
    """Open the configured directory for a command that runs beside the server or without one; None when none is configured.

    The server's snapshot is used while it belongs to the current file; otherwise one is compiled for this command alone, of the file and what was read of
    each source, which lives as long as it is mapped. ConfigError with a sentence for each mistake in the file.
    """
    snapshot = _current_snapshot(settings)
    if not settings.directories:
        return snapshot
    return ComposedDirectory(settings, snapshot, CommandClient(settings) if live_seconds(settings) else None)


def served_directory(settings: Settings) -> ComposedDirectory:
    """Return the directory as the server of these settings has it now, without what is live; nothing is compiled."""
    return ComposedDirectory(settings, _snapshot(settings, settings.spool_dir / SNAPSHOT_NAME), None)


def examine(settings: Settings) -> list[str]:
    """Read the configured recipient file for its mistakes (ConfigError, a sentence each); give a sentence for what does nothing."""
    if settings.recipients.file is None:
        return []
    with TemporaryDirectory(prefix="mailmoat-") as scratch:
        return _compile(settings, settings.recipients.file, Path(scratch) / SNAPSHOT_NAME)


def _snapshot(settings: Settings, path: Path) -> SnapshotDirectory | None:
    """Return the snapshot at a path; None when nothing is compiled."""
    compiler = RecipientsCompiler.of(settings)
    names = {table.number: table.name for table in compiler.tables}
    return SnapshotDirectory(path, settings.normalisation, names) if compiler.inputs else None


def _current_snapshot(settings: Settings) -> SnapshotDirectory | None:
    ours, compiler = settings.spool_dir / SNAPSHOT_NAME, RecipientsCompiler.of(settings)
    if not compiler.inputs:
        return None
    source = compiler.source(settings)
    if not SnapshotKeeper(source, ours, compiler).due() and not compiler.behind(ours):
        return _snapshot(settings, ours)
    with TemporaryDirectory(prefix="mailmoat-") as scratch:
        compiled = Path(scratch) / SNAPSHOT_NAME
        _compile(settings, source, compiled)
        return _snapshot(settings, compiled)


def _compile(settings: Settings, source: Path, snapshot: Path) -> list[str]:
    report = SnapshotKeeper(source, snapshot, RecipientsCompiler.of(settings)).compile()
    if report.problems:
        raise ConfigError([f"recipients.file: {problem}" for problem in report.problems])
    return [f"recipients.file: {warning}" for warning in report.warnings]
