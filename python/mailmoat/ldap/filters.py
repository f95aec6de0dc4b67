"""Search filters: the string representation (RFC 4515), encoded (RFC 4511 4.5.1.7). Values only.

As other programs do, it also reads a filter without the outer parentheses, and blanks around parentheses. A text that is no filter is a
ValueError that says where.
"""

from __future__ import annotations

import re
from typing import Final

from mailmoat.ldap import ber

DEEPEST: Final = 50
"""Filters in each other."""
_AND: Final = 0xA0
_OR: Final = 0xA1
_NOT: Final = 0xA2
_EQUAL: Final = 0xA3
_SUBSTRINGS: Final = 0xA4
_PRESENT: Final = 0x87
_EXTENSIBLE: Final = 0xA9
_INITIAL: Final = 0x80
_ANY: Final = 0x81
_FINAL: Final = 0x82
_RULE: Final = 0x81
_TYPE: Final = 0x82
_VALUE: Final = 0x83
_DN_ATTRIBUTES: Final = 0x84
_COMPARED: Final = {"=": _EQUAL, ">=": 0xA5, "<=": 0xA6, "~=": 0xA8}

_TYPE_FORM: Final = r"(?:[A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)+)(?:;[A-Za-z0-9-]+)*"
_ITEM: Final = re.compile(rf"({_TYPE_FORM})\s*(=|>=|<=|~=)([^()]*)", re.ASCII)
_MATCH: Final = re.compile(rf"({_TYPE_FORM})?(:[dD][nN])?(?::({_TYPE_FORM}))?:=([^()]*)", re.ASCII)
_NAMED: Final = re.compile(r"(?:^|\()\s*([A-Za-z][A-Za-z0-9-]*)\s*(?::[^=()]*)?[~<>:]?=", re.ASCII)
_ESCAPE: Final = re.compile(rb"\\(?:([0-9A-Fa-f]{2})|)")
_SPECIAL: Final = re.compile(rb"[\x00-\x1f()*\\\x7f-\xff]")


def escape(value: str | bytes) -> str:
    """Return a value as it is written in a filter, so that no octet of it has a meaning there (RFC 4515 3)."""
    octets = value.encode() if isinstance(value, str) else value
    return _SPECIAL.sub(lambda found: b"\\%02x" % found[0][0], octets).decode("ascii")


def parse(written: str) -> bytes:
    """Return the encoded filter. Raises ValueError."""
    text = written.strip()
    if not text.startswith("("):
        text = f"({text})"
    encoded, at = _filter(text, 0, 0)
    if at != len(text):
        raise ValueError(f"more follows the filter: {text[at:]}")
    return encoded


def attributes_in(written: str) -> tuple[str, ...]:
    """Return the attributes that a filter names, each once; not those of which it has the OID."""
    return tuple(dict.fromkeys(_NAMED.findall(written)))


def _filter(text: str, at: int, depth: int) -> tuple[bytes, int]:
    """Return the filter that begins at `at`, and where what follows it begins."""
    if depth > DEEPEST:
        raise ValueError(f"more than {DEEPEST} filters in each other")
    if text[at : at + 1] != "(":
        raise ValueError(f"a filter begins with (, not with {text[at:] or 'nothing'}")
    at = _blank(text, at + 1)
    match text[at : at + 1]:
        case "&" | "|" as kind:
            parts, at = _list(text, at + 1, depth)
            encoded = ber.element(_AND if kind == "&" else _OR, *parts)
        case "!":
            parts, at = _list(text, at + 1, depth)
            if len(parts) != 1:
                raise ValueError(f"! is for one filter, not for {len(parts)}")
            encoded = ber.element(_NOT, *parts)
        case _:
            encoded, at = _item(text, at)
    if text[at : at + 1] != ")":
        raise ValueError(f"a ) is missing before {text[at:] or 'the end'}")
    return encoded, _blank(text, at + 1)


def _list(text: str, at: int, depth: int) -> tuple[list[bytes], int]:
    parts, at = [], _blank(text, at)
    while text[at : at + 1] == "(":
        part, at = _filter(text, at, depth + 1)
        parts.append(part)
    return parts, at


def _item(text: str, at: int) -> tuple[bytes, int]:
    found = _ITEM.match(text, at)
    if found:
        kind, relation, value = found[1], found[2], found[3]
        if relation == "=" and value == "*":
            return ber.text(kind, _PRESENT), found.end()
        if relation == "=" and "*" in value:
            return ber.element(_SUBSTRINGS, ber.text(kind), _pieces(value)), found.end()
        return ber.element(_COMPARED[relation], ber.text(kind), ber.octets(_octets(value))), found.end()
    found = _MATCH.match(text, at)
    if found is None or not (found[1] or found[3]):
        raise ValueError(f"no attribute with = and a value: {text[at:]}")
    parts = [ber.text(found[3], _RULE)] if found[3] else []
    parts += [ber.text(found[1], _TYPE)] if found[1] else []
    parts.append(ber.octets(_octets(found[4]), _VALUE))
    parts += [ber.boolean(True, _DN_ATTRIBUTES)] if found[2] else []
    return ber.element(_EXTENSIBLE, *parts), found.end()


def _pieces(value: str) -> bytes:
    initial, *between, final = value.split("*")
    pieces = [ber.octets(_octets(initial), _INITIAL)] if initial else []
    pieces += [ber.octets(_octets(piece), _ANY) for piece in between if piece]
    pieces += [ber.octets(_octets(final), _FINAL)] if final else []
    if not pieces:
        raise ValueError(f"no text between the asterisks of {value}")
    return ber.sequence(*pieces)


def _octets(value: str) -> bytes:
    """Return the octets of a value, its escapes replaced."""

    def octet(found: re.Match[bytes]) -> bytes:
        if found[1] is None:
            raise ValueError(f"a \\ without two hexadecimal digits behind it: {value}")
        return bytes.fromhex(found[1].decode())

    if "*" in value:
        raise ValueError(f"an asterisk that is not \\2a: {value}")
    return _ESCAPE.sub(octet, value.encode())


def _blank(text: str, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at
