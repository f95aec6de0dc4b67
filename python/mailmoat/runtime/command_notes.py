"""What commands have done to messages while no server had them, kept until a worker writes it to the log.

A note is a file in `commands` below the spool directory, complete or not there, for the messages of one portion. Only the worker that has removed it
logs it, so each is logged once. Blocks on the disk. Reading raises nothing: what cannot be read stays, or is no note.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import msgspec

from mailmoat import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

DIRECTORY: Final = "commands"
MOST_FILES: Final = 20
"""Files that are taken at a time, so that the log of many messages does not stop a loop."""
MOST_OCTETS: Final = 1 << 20
"""Octets of a file; none that a command has written comes near."""


class CommandNote(msgspec.Struct, frozen=True):
    """One command and the messages that it has changed."""

    at: int
    """Milliseconds since the epoch."""
    command: str
    detail: str
    queue_ids: tuple[str, ...]


_DECODER: Final = msgspec.json.Decoder(CommandNote)


def leave(spool_dir: Path, note: CommandNote) -> None:
    """Put a note into the spool directory. OSError: it cannot be."""
    directory = spool_dir / DIRECTORY
    files.make_directory(directory)
    # Made outside the directory, where no worker takes it for a note before it is whole.
    with files.replacing(directory / f"{note.at:014}-{note.queue_ids[0]}", spool_dir) as file:
        file.write(msgspec.json.encode(note))


def are_there(spool_dir: str) -> bool:
    """Return whether there is a note, or what may be one."""
    try:
        with os.scandir(f"{spool_dir}/{DIRECTORY}") as found:
            return any(found)
    except OSError:  # most often there is none
        return False


def take(spool_dir: Path) -> Iterator[CommandNote]:
    """Yield the first notes, each for good."""
    for path in _first(spool_dir / DIRECTORY):
        try:
            with path.open("rb") as file:
                path.unlink()
                octets = file.read(MOST_OCTETS)
            note = _DECODER.decode(octets)
        except (OSError, msgspec.DecodeError, RecursionError):  # another worker has it, or it is none
            continue
        yield note


def _first(directory: Path) -> Iterable[Path]:
    try:
        return sorted(directory.iterdir())[:MOST_FILES]
    except OSError:  # most often there is none
        return ()
