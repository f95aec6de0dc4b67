"""The records of sources on disk: `<spool_dir>/reputation`, replaced whole once a minute and at the end, read before the fork.

The file has a first line with its version, the time it was written (milliseconds since the epoch), a CRC-32 of all behind it, and the records.
While the server is down, records go on decaying and blocks go on ending, by the wall clock; if that went back, no time has passed.
A file that is damaged or of another version is set aside with a line in the log, and nothing is remembered. Never raises.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from zlib import crc32

from mailmoat import clock, files, maillog
from mailmoat.events import Event

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat._native import Shared

NAME: Final = "reputation"
SET_ASIDE: Final = "damaged-reputation"
MAGIC: Final = b"mailmoat reputation 1\n"
SECONDS: Final = 60
"""Between two saves."""

_CHECKED = struct.Struct("<I")
_WRITTEN = struct.Struct("<Q")


def load(shared: Shared, spool_dir: Path) -> None:
    """Remember what was saved, and remove what an interrupted save has left."""
    path = spool_dir / NAME
    with suppress(OSError):
        for unfinished in spool_dir.glob(f"{NAME}.*"):
            unfinished.unlink()
    try:
        octets = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        maillog.event(Event.REPUTATION_NOT_READ, path=str(path), detail=error.strerror)
        return
    if not restore(shared, octets):
        with suppress(OSError):
            path.replace(spool_dir / SET_ASIDE)
        detail = f"damaged or of another version: set aside as {SET_ASIDE}, nothing is remembered"
        maillog.event(Event.REPUTATION_NOT_READ, path=str(path), detail=detail)


def restore(shared: Shared, octets: bytes) -> bool:
    """Remember the records of a file; return whether it is whole."""
    head, body = octets[: len(MAGIC) + _CHECKED.size], octets[len(MAGIC) + _CHECKED.size :]
    if head != MAGIC + _CHECKED.pack(crc32(body)) or len(body) < _WRITTEN.size:
        return False
    (written,) = _WRITTEN.unpack_from(body)
    age = max(0, clock.wall_ms() - written) // 1000
    try:
        shared.reputation_restore(body[_WRITTEN.size :], age, int(clock.monotonic()))
    except ValueError:
        return False
    return True


def save(shared: Shared, spool_dir: Path) -> None:
    """Write what is remembered now; waits for the disk."""
    path = spool_dir / NAME
    body = _WRITTEN.pack(clock.wall_ms()) + shared.reputation_dump(int(clock.monotonic()))
    if len(body) == _WRITTEN.size and not path.exists():
        return
    try:
        with files.replacing(path) as file:
            file.write(MAGIC + _CHECKED.pack(crc32(body)) + body)
    except OSError as error:
        maillog.event(Event.REPUTATION_NOT_KEPT, path=str(path), detail=error.strerror)
