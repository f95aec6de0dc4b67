"""How old a message is when the calendar cannot be trusted.

An age is a difference of two times of the calendar, because it outlives the process, and a calendar can be wrong. While a process runs,
a clock that never jumps shows each jump of the calendar. Promises: a jump forward makes nothing older until it has lasted a day, so one
that is taken back within that time expires no message and reports no delay; a jump back counts at once, because it makes nothing
older. What happened to the calendar while no process ran cannot be known: it is believed.
"""

from __future__ import annotations

from typing import Final

from mailmoat import clock

TRUST_AFTER: Final = 86_400.0
"""Seconds after which a jump forward is believed."""
TOLERANCE_MS: Final = 10_000
"""More than a clock that is being adjusted gains between two looks at it."""


class Ages:
    """The calendar of one worker, without its latest jump forward."""

    def __init__(self) -> None:
        self._offset = clock.wall_ms() - clock.monotonic_ms()
        self._since: float | None = None

    def now_ms(self) -> int:
        """Return the milliseconds since the epoch by which ages are measured."""
        offset = clock.wall_ms() - clock.monotonic_ms()
        if offset - self._offset <= TOLERANCE_MS:
            self._offset, self._since = offset, None
        elif self._since is None:
            self._since = clock.monotonic()
        elif clock.monotonic() - self._since >= TRUST_AFTER:
            self._offset, self._since = offset, None
        return clock.monotonic_ms() + self._offset
