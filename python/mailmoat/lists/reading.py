"""The lists as a command sees them: beside a running server, or without one.

The server's snapshot is used while it belongs to the files as they are; otherwise one is compiled for this command alone, which lives as
long as it is mapped. ConfigError with a sentence for each mistake in a file, OSError.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mailmoat._native import ListSnapshot
from mailmoat.errors import ConfigError
from mailmoat.lists.compiler import Keeper, compile_sources
from mailmoat.lists.sources import SNAPSHOT_NAME, sources

if TYPE_CHECKING:
    from mailmoat.settings import Settings


def open_lists(settings: Settings) -> ListSnapshot:
    """Return all lists of these settings."""
    keeper = Keeper(settings)
    if keeper.target.exists() and not keeper.due(keeper.look()):
        return ListSnapshot(str(keeper.target))
    with TemporaryDirectory(prefix="mailmoat-") as scratch:
        compiled = Path(scratch) / SNAPSHOT_NAME
        examine(settings, compiled)
        return ListSnapshot(str(compiled))


def examine(settings: Settings, target: Path | None = None) -> None:
    """Read all files for their mistakes, into the snapshot at `target` or into none."""
    with TemporaryDirectory(prefix="mailmoat-") as scratch:
        report = compile_sources(
            target or Path(scratch) / SNAPSHOT_NAME, [(source, True) for source in sources(settings)]
        )
    if report.problems:
        raise ConfigError(list(report.problems))
