"""When a message is tried again, and when it is given up: pure arithmetic over the retry schedule.

Promises: an attempt is never due before the schedule says, and at most a tenth later; a later `now` never gives an earlier due
time. Never reads a clock nor makes a random number: both are arguments. RFC 5321 4.5.4.1.
"""

from __future__ import annotations

import math

SPREAD = 0.1
"""At most this share of a delay is added, so that what failed together does not come back together."""


def next_due(now_ms: int, attempts: int, schedule_seconds: tuple[float, ...], random_fraction: float) -> int:
    """Return when attempt `attempts + 1` is due, in milliseconds since the epoch.

    `attempts` counts those made; a message never tried is due at once. The last delay of the schedule, which has at least
    one, repeats. `random_fraction` is in `[0, 1]`.
    """
    if attempts <= 0:
        return now_ms
    delay = schedule_seconds[min(attempts, len(schedule_seconds)) - 1]
    return now_ms + math.ceil(delay * 1000 * (1 + SPREAD * random_fraction))


def wait(now_ms: int, due_ms: int, schedule_seconds: tuple[float, ...]) -> float:
    """Return the seconds until a time; never more than the schedule has, so that a clock set back does not delay a message."""
    return max(0.0, min((due_ms - now_ms) / 1000, longest(schedule_seconds)))


def longest(schedule_seconds: tuple[float, ...]) -> float:
    """Return the longest wait of a schedule, in seconds."""
    return max(schedule_seconds) * (1 + SPREAD)


def expired(arrival_ms: int, now_ms: int, expire_s: float) -> bool:
    """Return whether a message that arrived then is now too old for another attempt; a clock set back makes nothing older."""
    return now_ms - arrival_ms >= expire_s * 1000
