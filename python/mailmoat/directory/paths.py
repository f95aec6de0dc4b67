"""Where the directory process keeps its files in the spool directory: what it writes, and what workers and commands read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def directory_of(spool_dir: Path) -> Path:
    """Return the directory of the directory process."""
    return spool_dir / "directory"


def table_path(spool_dir: Path, name: str) -> Path:
    """Return the file of the table of a source."""
    return directory_of(spool_dir) / f"{name}.db"


def freshness_path(spool_dir: Path) -> Path:
    """Return the file that says how fresh the sources are."""
    return directory_of(spool_dir) / "freshness"


def live_path(spool_dir: Path) -> Path:
    """Return the socket at which live sources are asked for."""
    return directory_of(spool_dir) / "live"
