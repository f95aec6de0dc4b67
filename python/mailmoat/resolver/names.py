r"""Domain names between text and labels, and where one zone probably ends and another begins.

A name that is asked for is taken as it stands: dots part its labels, every other character is its UTF-8 octets, a backslash one of
them. A name that was answered is written from its labels with `\DDD` for each octet that is no printable ASCII, a dot or a
backslash. Pure; what is no name is None.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_LABEL: Final = 63
LONGEST_NAME: Final = 255
"""Octets with the length of each label and of the root (RFC 1035 2.3.4)."""

_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_PLAIN: Final = frozenset((string.ascii_letters + string.digits + string.punctuation).encode()) - frozenset(b".\\")
_WRITTEN: Final = tuple(chr(octet).lower() if octet in _PLAIN else f"\\{octet:03d}" for octet in range(256))


def normal(name: str) -> str:
    """The name in the one form questions are compared in: ASCII letters lower case (RFC 4343), without the final dot."""
    name = name.removesuffix(".")
    return name.lower() if name.isascii() else name.translate(_LOWER)


def labels(name: str) -> tuple[bytes, ...] | None:
    """The labels of a normal name; None when it is none."""
    try:
        found = tuple(name.encode().split(b".")) if name else ()
    except UnicodeEncodeError:
        return None
    lengths = [len(label) for label in found]
    if sum(lengths) + len(lengths) + 1 > LONGEST_NAME or not all(0 < length <= LONGEST_LABEL for length in lengths):
        return None
    return found


def text(found: Iterable[bytes]) -> str:
    """Labels as a name, the root's empty label dropped."""
    return ".".join("".join(map(_WRITTEN.__getitem__, label)) for label in found if label)


def zone(name: str) -> str:
    """What is probably one organisation's part of the name space: one circuit breaks for all of it.

    The last two labels; three where the top level is a country's (two letters) and the label before it has at most three
    (`example.co.uk`). Of reverse names the part that stands for a /16 or, in IPv6, a /32. A guess, where a list of public suffixes
    would be one more thing to keep: guessed too wide, neighbours of a dead zone get temporary errors for a while; too narrow, a
    dead zone is asked a little more.
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
