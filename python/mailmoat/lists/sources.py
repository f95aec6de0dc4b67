"""The files that the lists are compiled from: our own two in the spool directory, and those that the settings name.

Ours are changed by `mailmoat block` and `mailmoat allow` alone, and may be missing; the others are an administrator's. Values made from
settings; reads nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat.settings import Settings

DIRECTORY_NAME: Final = "lists"
"""The directory of our own files, in the spool directory."""
SNAPSHOT_NAME: Final = "lists.snapshot"
"""The compiled lists, in that directory."""


class ListName(StrEnum):
    """One of the two lists; our own file of each has its name."""

    BLOCK = "block"
    ALLOW = "allow"


class Source(NamedTuple):
    """A file of one list."""

    path: Path
    name: ListName
    ours: bool

    @property
    def title(self) -> str:
        """What names it in a log or a message."""
        return str(self.path) if self.ours else f"lists.{self.name}_files: {self.path}"


def directory(settings: Settings) -> Path:
    """Return the directory of our own files."""
    return settings.spool_dir / DIRECTORY_NAME


def snapshot(settings: Settings) -> Path:
    """Return where the compiled lists are."""
    return directory(settings) / SNAPSHOT_NAME


def sources(settings: Settings) -> tuple[Source, ...]:
    """Return all sources of these settings, ours first."""
    ours = [Source(directory(settings) / name, name, ours=True) for name in ListName]
    named = [
        Source(path, name, ours=False)
        for name, paths in ((ListName.BLOCK, settings.lists.block_files), (ListName.ALLOW, settings.lists.allow_files))
        for path in paths
    ]
    return (*ours, *named)
