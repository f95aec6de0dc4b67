"""Changes of a file that an administrator writes: how they are seen, and whether a changed file may be unfinished.

A file that was just written, or that is less than half as large as the one in force, waits until it has not changed
for `QUIET_TIME`: half a list refuses the other half. Reads clocks and asks for the state of a file, opens none, never fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat import clock

if TYPE_CHECKING:
    from pathlib import Path

QUIET_TIME: Final = 10.0
"""Seconds without a change after which whatever is there is meant."""
FRESH_TIME: Final = 2.0
"""Seconds after its last write in which a file may not be finished."""

RETRY_TIME: Final = 60.0
"""Seconds after which a file that could not be used is tried again although it has not changed: a disk may have failed, or descriptors."""


class Stamp(NamedTuple):
    """The state of a file: equal stamps mean an unchanged one, zeros that there is none."""

    mtime_ns: int
    """Time of its last write, nanoseconds since the epoch."""
    size: int
    """Octets."""
    inode: int
    ctime_ns: int
    """Time of the last change of anything about it, who may read it among that."""


NONE: Final = Stamp(0, 0, 0, 0)


class Quiet:
    """Watches one file by its stamps."""

    def __init__(self) -> None:
        self._stamp: Stamp | None = None
        self._until = 0.0
        self._why = ""

    def reason_to_wait(self, stamp: Stamp, in_force: Stamp) -> str:
        """Return in words why the file with this stamp has to wait now; empty if it need not."""
        now = clock.monotonic()
        if stamp != self._stamp:
            self._stamp, self._until, self._why = stamp, now + QUIET_TIME, _suspicion(stamp, in_force)
        return self._why if now < self._until else ""


def _suspicion(stamp: Stamp, in_force: Stamp) -> str:
    if stamp == NONE:
        return ""  # there is nothing to wait for
    if 2 * stamp.size < in_force.size:
        return f"it shrank from {in_force.size} to {stamp.size} octets"
    if stamp.mtime_ns != in_force.mtime_ns and clock.wall_ms() - stamp.mtime_ns // 1_000_000 < FRESH_TIME * 1000:
        return "it was written just now"
    return ""


def existing_stamp(path: Path) -> Stamp:
    """Return the stamp of a file; OSError when there is none, or it cannot be asked for."""
    status = path.stat()
    return Stamp(status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns)


def stamp_of(path: Path) -> Stamp:
    """Return the stamp of a file as it is."""
    try:
        return existing_stamp(path)
    except OSError:
        return NONE
