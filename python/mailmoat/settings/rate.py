"""Rates in words: `600/min`, `600/min burst 100`, `30/10min`, `1GiB/hour burst 256MiB`; `off` and the empty text are none.

Pure; the only error is ValueError, which says what is wrong with the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailmoat.settings import notation, values

if TYPE_CHECKING:
    from collections.abc import Callable

UNITS: Final = {
    **dict.fromkeys(("s", "sec", "second"), 1),
    **dict.fromkeys(("m", "min", "minute"), 60),
    **dict.fromkeys(("h", "hour"), 3600),
    **dict.fromkeys(("d", "day"), 86400),
}
"""Seconds; the plural is the same."""
SHOWN: Final = {86400: "day", 3600: "hour", 60: "min", 1: "s"}
LONGEST: Final = 86400
"""Seconds a rate may be about, and a whole burst may take to be free again."""
MOST: Final = 1 << 40

_RATE: Final = re.compile(r"(\S+)\s*/\s*(\d{0,5})\s*([a-z]+?)s?(?:\s+burst\s+(\S+))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in a time, and so many at once."""

    count: int
    """Above 0."""
    seconds: int
    """Above 0."""
    burst: int
    """What may come at once after a rest; above 0."""

    def __str__(self) -> str:
        return show(self)


def rate(value: object) -> Rate | None:
    """Return a rate of things that are counted; None for off."""
    return _read(value, values.count)


def byte_rate(value: object) -> Rate | None:
    """Return a rate of octets; None for off."""
    return _read(value, values.size)


def show(value: object) -> str:
    """Return a rate as it is written."""
    return _show(value, str)


def show_bytes(value: object) -> str:
    """Return a rate of octets as it is written."""
    return _show(value, notation.show_size)


def _read(value: object, amount: Callable[[object], int]) -> Rate | None:
    if value is None or isinstance(value, Rate):
        return value
    if value is False or value == 0:
        return None
    if isinstance(value, str):
        text = value.strip()
        return None if text.lower() in {"", "off", "0"} else _parse(text, amount)
    raise ValueError("not a rate: a count alone does not say in which time")


def _parse(text: str, amount: Callable[[object], int]) -> Rate:
    match = _RATE.fullmatch(text)
    unit = UNITS.get(match[3]) if match else None
    if match is None or unit is None:
        raise ValueError("not a rate")
    seconds = int(match[2] or 1) * unit
    count = _amount(match[1], amount, "what comes before /")
    burst = _amount(match[4], amount, "the burst") if match[4] else count
    if not 0 < seconds <= LONGEST:
        raise ValueError("not a rate: its time is not between a second and a day")
    if burst * seconds > LONGEST * count:
        raise ValueError("a burst that would take longer than a day to be free again")
    return Rate(count, seconds, burst)


def _amount(text: str, amount: Callable[[object], int], what: str) -> int:
    try:
        number = amount(text)
    except ValueError as error:
        raise ValueError(f"{what} is {error}") from None
    if not 0 < number <= MOST:
        raise ValueError(f"{what} is not above 0, or too large")
    return number


def _show(value: object, amount: Callable[[object], str]) -> str:
    if not isinstance(value, Rate):
        return "off"
    length, unit = next((length, unit) for length, unit in SHOWN.items() if value.seconds % length == 0)
    times = value.seconds // length
    burst = f" burst {amount(value.burst)}" if value.burst != value.count else ""
    return f"{amount(value.count)}/{times if times > 1 else ''}{unit}{burst}"
