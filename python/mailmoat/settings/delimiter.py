"""The characters that begin a subaddress (RFC 5233), as a setting."""

from __future__ import annotations

DELIMITERS = "+-=_.#&*~^$'"
"""No letter or digit, and nothing that servers route by."""


def delimiter(value: object) -> str:
    """Some of `DELIMITERS`, or nothing."""
    written = str(value).strip()
    for character in written:
        if character not in DELIMITERS:
            raise ValueError(f"{character} begins no subaddress")
    return written
