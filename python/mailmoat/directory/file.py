"""The recipient file as a directory: answers from the compiled snapshot that all workers map.

Promises: a lookup reads shared memory, without a system call; a snapshot that is missing, unreadable or damaged is
UNKNOWN, never ABSENT; once a snapshot is in force only a good one replaces it. Never compiles on behalf of the server
(`directory.snapshot` does). A worker calls `refresh` now and then, every second or so.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat._native import Directory as Snapshot
from mailmoat.directory.directory import Presence
from mailmoat.directory.inputs import RecipientsCompiler
from mailmoat.directory.snapshot import SNAPSHOT_NAME, SnapshotKeeper
from mailmoat.errors import ConfigError
from mailmoat.mapped_file import MappedFile
from mailmoat.metrics import DIRECTORY_AGE, DIRECTORY_ENTRIES, WORKERS_DIRECTORY_OK

if TYPE_CHECKING:
    from mailmoat._native import Address
    from mailmoat.metrics import Metrics
    from mailmoat.settings import Settings


class _Found(IntEnum):
    """What the snapshot says of an address; and `OTHER_ROUTE`, what follows from `@domain` for one that may mean another server's."""

    ABSENT = 0
    LISTED = 1
    DOMAIN = 2
    EXCLUDED = 3
    DAMAGED = 4
    OTHER_ROUTE = 5


_OWN: Final = (_Found.LISTED, _Found.EXCLUDED, _Found.DAMAGED)
"""Said of the address itself, not of its domain; or nothing can be said."""
_ANSWERS: Final = {
    _Found.ABSENT: Presence.ABSENT,
    _Found.LISTED: Presence.EXISTS,
    _Found.DOMAIN: Presence.EXISTS,
    _Found.EXCLUDED: Presence.ABSENT,
    _Found.DAMAGED: Presence.UNKNOWN,
    _Found.OTHER_ROUTE: Presence.ABSENT,
}
_REASONS: Final = {
    _Found.ABSENT: "neither it nor its domain is listed",
    _Found.LISTED: "listed on line {line}",
    _Found.DOMAIN: "every address at {domain} is listed on line {line}",
    _Found.EXCLUDED: "excluded on line {line}",
    _Found.DAMAGED: "the compiled recipient file is damaged",
    _Found.OTHER_ROUTE: "@{domain} on line {line} does not cover it: another server may read it as a route",
}


class FileDirectory:
    """The recipients in the snapshot at `path`, which need not exist yet; `delimiter` is `recipients.delimiter`."""

    def __init__(self, path: Path, delimiter: str) -> None:
        self._path = path
        self._delimiter = delimiter
        self.file = MappedFile(path, Snapshot)

    @property
    def usable(self) -> bool:
        """Whether a snapshot is in force."""
        return self.file.value is not None

    @property
    def entries(self) -> int:
        """Different entries in force; 0 without a snapshot."""
        snapshot = self.file.value
        return snapshot.entries if snapshot else 0

    @property
    def written_ms(self) -> int:
        """When the recipient file in force was written, milliseconds since the epoch; 0 without a snapshot."""
        snapshot = self.file.value
        return snapshot.stamp[0] // 1_000_000 if snapshot else 0

    def refresh(self) -> bool:
        """Map the snapshot anew if it was replaced, and say whether it was."""
        return self.file.refresh()

    def lookup(self, address: Address) -> Presence:
        """Say whether `address` exists."""
        snapshot = self.file.value
        return _ANSWERS[self._find(snapshot, address)[0]] if snapshot else Presence.UNKNOWN

    def explain(self, address: Address) -> str:
        """Say which line of the recipient file decides about `address`."""
        snapshot, error = self.file.value, self.file.error
        if snapshot is None:
            return f"{address}: unknown ({self._broken(error)})"
        found, entry = self._find(snapshot, address)
        line = snapshot.lookup(entry.key, entry.domain)[2]
        why = _REASONS[found].format(line=line, domain=address.domain)
        return f"{address}: {_ANSWERS[found].value} ({why if entry == address else f'as {entry}, {why}'})"

    def _broken(self, error: OSError | None) -> str:
        """Return why there is nothing to look up in."""
        if error is None or isinstance(error, FileNotFoundError):
            return "the recipient file is not compiled yet"
        return f"the compiled recipient file {self._path} cannot be used: {error.strerror or error}"

    def _find(self, snapshot: Snapshot, address: Address) -> tuple[_Found, Address]:
        """Return what is known of `address`, and by which address: its own, or the one it is a subaddress of."""
        found = _Found(snapshot.lookup(address.key, address.domain)[0])
        if found in _OWN:
            return found, address
        user = address.without_detail(self._delimiter)
        by_user = _Found(snapshot.lookup(user.key, user.domain)[0]) if user else found
        if user and by_user in _OWN:
            return by_user, user
        return (_Found.OTHER_ROUTE if found is _Found.DOMAIN and address.may_route else found), address


def publish(directory: FileDirectory | None, metrics: Metrics) -> None:
    """Set a worker's gauges of its directory; None when none is configured."""
    metrics.set(WORKERS_DIRECTORY_OK, int(directory is None or directory.entries > 0))
    metrics.set(DIRECTORY_ENTRIES, directory.entries if directory else 0)
    if directory and directory.written_ms:
        metrics.set(DIRECTORY_AGE, max(0, clock.wall_ms() - directory.written_ms) // 1000)


def file_directory(settings: Settings) -> FileDirectory | None:
    """Return the compiled recipient file; None when none is set."""
    recipients = settings.recipients
    return FileDirectory(settings.spool_dir / SNAPSHOT_NAME, recipients.delimiter) if recipients.file else None


def open_directory(settings: Settings) -> FileDirectory | None:
    """Open the configured directory for a command that runs beside the server or without one; None when none is configured.

    The server's snapshot is used while it belongs to the current file; otherwise one is compiled for this command alone, which
    lives as long as it is mapped. ConfigError with a sentence for each mistake in the file.
    """
    source = settings.recipients.file
    if source is None:
        return None
    ours = settings.spool_dir / SNAPSHOT_NAME
    if not SnapshotKeeper(source, ours, RecipientsCompiler.of(settings)).due():
        return FileDirectory(ours, settings.recipients.delimiter)
    with TemporaryDirectory(prefix="mailmoat-") as scratch:
        compiled = Path(scratch) / SNAPSHOT_NAME
        _compile(settings, source, compiled)
        return FileDirectory(compiled, settings.recipients.delimiter)


def examine(settings: Settings) -> list[str]:
    """Read the configured recipient file for its mistakes (ConfigError, a sentence each); give a sentence for what does nothing."""
    source = settings.recipients.file
    if source is None:
        return []
    with TemporaryDirectory(prefix="mailmoat-") as scratch:
        return _compile(settings, source, Path(scratch) / SNAPSHOT_NAME)


def _compile(settings: Settings, source: Path, snapshot: Path) -> list[str]:
    report = SnapshotKeeper(source, snapshot, RecipientsCompiler.of(settings)).compile()
    if report.problems:
        raise ConfigError([f"recipients.file: {problem}" for problem in report.problems])
    return [f"recipients.file: {warning}" for warning in report.warnings]
