"""Domain names in queries, and where a zone probably begins.

A name is taken as it is: dots part its labels, every other character is its UTF-8 octets, a backslash one of them. Pure; what is no
name is None.
"""

from __future__ import annotations

import string
from typing import Final

LONGEST_LABEL: Final = 63
LONGEST_NAME: Final = 255
"""Octets with the length of each label and of the root (RFC 1035 2.3.4)."""

_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def normal(name: str) -> str:
    """Return the name in the form in which queries are compared: ASCII letters lower case (RFC 4343), without the final dot."""
    name = name.removesuffix(".")
    return name.lower() if name.isascii() else name.translate(_LOWER)


def labels(name: str) -> tuple[bytes, ...] | None:
    """Return the labels of a normal name; None when it is none."""
    try:
        found = tuple(name.encode().split(b".")) if name else ()
    except UnicodeEncodeError:
        return None
    lengths = [len(label) for label in found]
    if sum(lengths) + len(lengths) + 1 > LONGEST_NAME or not all(0 < length <= LONGEST_LABEL for length in lengths):
        return None
    return found


def zone(name: str) -> str:
    """Return the part of the name space that probably belongs to one organisation: its queries are counted together.

    The last two labels; three where the top level is a country's (two letters) and the label before it has at most three
    (`example.co.uk`). Of reverse names the part that stands for a /16 or, in IPv6, a /32. A guess that nobody must rely on: neighbours
    share the room for queries, a dead zone that is guessed too narrow is asked a little more.
    """
    parts = name.split(".")
    match parts:
        case [*_, "in-addr", "arpa"]:
            kept = 4
        case [*_, "ip6", "arpa"]:
            kept = 10
        case [*_, second, top] if len(top) == 2 and len(second) <= 3:  # noqa: PLR2004 - said above
            kept = 3
        case _:
            kept = 2
    return ".".join(parts[-kept:])
