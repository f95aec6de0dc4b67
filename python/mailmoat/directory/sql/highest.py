"""The highest value of the column `changed`, in a form that outlives the process.

A moment in the future (a wrong clock, a date of 9999) does not count: nothing after it would ever be seen again. Values of different types are
not compared; the type of the first one counts. Pure.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from mailmoat import clock

if TYPE_CHECKING:
    from collections.abc import Callable

Moment: TypeAlias = datetime | date | int | float | Decimal | str | bytes
_FUTURE: Final = timedelta(days=1)
"""A time without a zone can be of any zone, which is less than a day apart."""
_PARTS: Final = 2
_READ: Final[dict[str, Callable[[str], Moment]]] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "int": int,
    "float": float,
    "Decimal": Decimal,
    "str": str,
    "bytes": bytes.fromhex,
}


class Highest:
    """Collects values of one column."""

    def __init__(self, value: Moment | None = None) -> None:
        self.value = value

    def add(self, value: object) -> None:
        """Take the value of one row."""
        if type(value).__name__ not in _READ or _is_future(value):
            return
        if self.value is None or (type(value) is type(self.value) and _is_higher(value, self.value)):
            self.value = cast("Moment", value)


def moved(value: Moment, by: timedelta) -> Moment:
    """Return another moment; a value that is none, a date among them, as it is."""
    if not isinstance(value, datetime):
        return value
    try:
        return value + by
    except OverflowError:
        return value


def written(value: Moment | None) -> list[str] | None:
    """Return a value as JSON can hold it."""
    if value is None:
        return None
    if isinstance(value, datetime | date):
        return [type(value).__name__, value.isoformat()]
    return [type(value).__name__, value.hex() if isinstance(value, bytes) else str(value)]


def read(value: object) -> Moment | None:
    """Return what `written` gave. ValueError for anything else."""
    if value is None:
        return None
    kind, text = value if isinstance(value, list) and len(value) == _PARTS else ("", "")
    if kind not in _READ or not isinstance(text, str):
        raise ValueError("not a value")
    try:
        return _READ[kind](text)
    except InvalidOperation:
        raise ValueError("not a number") from None


def _is_higher(value: Any, than: Any) -> bool:
    """Compare two values of one type; moments with and without a zone cannot be compared."""
    try:
        return bool(value > than)
    except TypeError:
        return False


def _is_future(value: object) -> bool:
    if not isinstance(value, datetime):
        return False
    now = datetime.fromtimestamp(clock.wall_ms() / 1000, UTC)
    return (value if value.tzinfo else value.replace(tzinfo=UTC)) > now + _FUTURE
