"""Who gets copies of bounces, by the status that a recipient failed with: `ndr.copy_to`.

A status (`4.4.7`), its beginning (`5.1`, `5`) or `*`, and an address; the longest that fits counts. One address alone is for `*`. Pure;
the only error is ValueError, which says what is wrong with the text.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from mailmoat.settings import values

ALL: Final = "*"
_LIKE_STATUS: Final = re.compile(r"[0-9.]+|\*", re.ASCII)
_STATUS: Final = re.compile(r"[245](\.\d{1,3}(\.\d{1,3})?)?", re.ASCII)


class Copy(NamedTuple):
    """One row: `status` is a status, its beginning, or `*`."""

    status: str
    address: str


def parse(value: object) -> tuple[Copy, ...]:
    """Read an address, a table of addresses by status, or `5.1=address, *=address`."""
    if value is None or value == "":
        return ()
    if isinstance(value, tuple) and all(isinstance(row, Copy) for row in value):
        return value
    rows = list(value.items()) if isinstance(value, dict) else [_row(item) for item in values.items(value)]
    copies = tuple(Copy(_status(status), values.report_address(address)) for status, address in rows)
    if len({copy.status for copy in copies}) < len(copies):
        raise ValueError("a status is in it twice")
    return copies


def show(value: object) -> str:
    """Return the rows as they are written in the environment."""
    rows = value if isinstance(value, tuple) else ()
    if len(rows) == 1 and rows[0].status == ALL:
        return str(rows[0].address)
    return ", ".join(f"{row.status}={row.address}" for row in rows)


def address_for(copies: tuple[Copy, ...], status: str) -> str | None:
    """Return who gets a copy of a bounce about a recipient with this status (`5.1.1`)."""
    by_status = dict(copies)
    parts = status.split(".")
    beginnings = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((by_status[each] for each in (*beginnings, ALL) if each in by_status), None)


def _row(item: object) -> tuple[str, object]:
    """Split `5.1=address`; before an `=` in an address there is more than digits."""
    status, equals, address = item.partition("=") if isinstance(item, str) else ("", "", "")
    if equals and _LIKE_STATUS.fullmatch(status.strip()):
        return status.strip(), address.strip()
    return ALL, item


def _status(written: object) -> str:
    if written == ALL or (isinstance(written, str) and _STATUS.fullmatch(written)):
        return str(written)
    raise ValueError(f"{written} is no status such as 5.1.1, no beginning of one such as 5.1, and not *")
