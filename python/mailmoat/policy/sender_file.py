"""The file of blocked senders, compiled to a snapshot that all workers map.

The supervisor compiles (`SenderCompiler`), workers look addresses up (`SenderFile`). A file that cannot be used leaves what is in force; without
any snapshot nobody is blocked by it. Raises nothing but `examine` (ConfigError).
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from mailmoat._native import SenderTable, compile_senders
from mailmoat.directory.directory import SourceState
from mailmoat.directory.snapshot import SnapshotKeeper
from mailmoat.errors import ConfigError
from mailmoat.file_changes import Stamp
from mailmoat.mapped_file import MappedFile
from mailmoat.metrics import Family, single

if TYPE_CHECKING:
    from mailmoat.metrics import Metrics
    from mailmoat.settings import Settings

SENDERS_SNAPSHOT: Final = "senders.snapshot"
"""The name of the snapshot in the spool directory."""

SENDER_FILE_ENTRIES: Final = single(
    "mailmoat_sender_file_entries", "Entries of the file of blocked senders in force.", same=True
)
SENDER_FILE_STATE: Final = Family(
    "mailmoat_sender_file_state",
    "1 for the state of the file of blocked senders, else 0.",
    {"state": SourceState},
    same=True,
)


class SenderCompiler:
    """See `directory.snapshot.Compiler`."""

    def compile(self, source: Path, snapshot: Path) -> tuple[int, list[str], list[str]]:
        """Compile the source."""
        entries, problems, warnings = compile_senders(str(source), str(snapshot))
        return entries, [f"{source}: {each}" for each in problems], [f"{source}: {each}" for each in warnings]

    def made_from(self, source: Path, snapshot: Path) -> Stamp | None:
        """Return the stamp of the source when this snapshot was made from it."""
        try:
            table = SenderTable(str(snapshot))
        except OSError:
            return None
        return Stamp(*table.stamp) if table.is_for(str(source)) else None

    def entries(self, snapshot: Path) -> int | None:
        """Return the different entries of a snapshot."""
        try:
            return SenderTable(str(snapshot)).entries
        except OSError:
            return None


class SenderFile:
    """The compiled file at `snapshot`, which need not exist yet; `source` is the file that it was made from."""

    def __init__(self, source: Path, snapshot: Path) -> None:
        self.source = source
        self.file = MappedFile(snapshot, SenderTable)

    @property
    def stamp(self) -> Stamp:
        """Of the snapshot in force: another value when it was replaced."""
        return self.file.stamp

    @property
    def entries(self) -> int:
        """Different entries in force."""
        table = self.file.value
        return table.entries if table else 0

    def refresh(self) -> None:
        """Map the compiled file anew if it was replaced."""
        self.file.refresh()

    def lookup(self, key: str, domain: str) -> tuple[int, int]:
        """Return what the nearest entry says, as `SenderTable` does, and its line."""
        table = self.file.value
        return table.lookup(key, domain) if table else (0, 0)

    def publish(self, metrics: Metrics) -> None:
        """Set a worker's gauge."""
        metrics.set(SENDER_FILE_ENTRIES, self.entries)


def sender_file(settings: Settings) -> SenderFile | None:
    """Return the compiled file of a running server; None when no file is set."""
    source = settings.sender_filter.blocked_file
    return SenderFile(source, settings.spool_dir / SENDERS_SNAPSHOT) if source else None


def examine(settings: Settings) -> SenderFile | None:
    """Compile the file for a command alone, which keeps it as long as it is mapped; ConfigError with a sentence for each mistake in it."""
    source = settings.sender_filter.blocked_file
    if source is None:
        return None
    with TemporaryDirectory(prefix="mailmoat-") as scratch:
        snapshot = Path(scratch) / SENDERS_SNAPSHOT
        report = SnapshotKeeper(source, snapshot, SenderCompiler()).compile()
        if report.problems:
            raise ConfigError([f"sender_filter.blocked_file: {problem}" for problem in report.problems])
        return SenderFile(source, snapshot)
