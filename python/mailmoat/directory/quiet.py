"""Whether a changed recipient file can be read, or may be unfinished.

A file that was just written, or that is less than half as large as the one in force, waits until it has not changed
for `QUIET_TIME`: half a list refuses the other half of the recipients. Reads clocks, touches no file, never fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat.directory.snapshot import NONE

if TYPE_CHECKING:
    from mailmoat.directory.snapshot import Stamp

QUIET_TIME: Final = 10.0
"""Seconds without a change after which whatever is there is meant."""
FRESH_TIME: Final = 2.0
"""Seconds after its last write in which a file may not be finished."""


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
