"""The only place that reads clocks and makes random numbers, so that tests can control both.

Time is monotonic seconds for durations and milliseconds since the epoch for what outlives the process.
"""

from __future__ import annotations

import random  # noqa: TID251
import time  # noqa: TID251
from email.utils import formatdate

from mailmoat._native import MonotonicClock

monotonic = time.monotonic
"""Seconds of a clock that never goes back; its origin has no meaning."""
steady = MonotonicClock()
"""The same clock, for what Rust decides by it."""
cpu = time.process_time
"""Seconds of CPU that this process has taken."""


def monotonic_ms() -> int:
    """Return the same clock in whole milliseconds, rounded down: a deadline compared with it is never early."""
    return time.monotonic_ns() // 1_000_000


def wall_ms() -> int:
    """Return milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


LAST_MS = 253_402_214_400_000
"""A day before the year 10000, of which a date cannot be written in any zone."""


def dated(ms: int) -> int:
    """Return a time of which a date can be written: a damaged one is moved to the epoch or to the end."""
    return min(max(ms, 0), LAST_MS)


def rfc5322_date(ms: int) -> str:
    """Return `ms` since the epoch as a date with a numeric zone (RFC 5322 3.3)."""
    return formatdate(dated(ms) / 1000, localtime=True)


def plain_date(ms: int) -> str:
    """Return `ms` since the epoch as a date that people read in any language, such as `2026-09-21 14:13 +0200`."""
    return time.strftime("%Y-%m-%d %H:%M %z", time.localtime(dated(ms) / 1000))


def random_below(bound: int) -> int:
    """Return a random integer in `[0, bound)`: for spreading load, never for secrets."""
    return random.randrange(bound)  # noqa: S311 - no secret depends on it
