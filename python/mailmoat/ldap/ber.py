"""BER as LDAP restricts it (RFC 4511 5.1): definite lengths, primitive strings. Values only.

Reading raises GarbledError for what is cut short, too long or of another type; it never reads behind the end of what it was given.
"""

from __future__ import annotations

from typing import Final

from mailmoat.errors import MailmoatError

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
OCTET_STRING: Final = 0x04
ENUMERATED: Final = 0x0A
SEQUENCE: Final = 0x30
SET: Final = 0x31

LONG_LENGTH: Final = 0x80
"""A length octet from here on says how many octets the length itself has."""
_MOST_LENGTH_OCTETS: Final = 4
_HEADER: Final = 2
_MOST_INTEGER_OCTETS: Final = 8


class GarbledError(MailmoatError):
    """Octets are not what the protocol has there."""


def element(tag: int, *parts: bytes) -> bytes:
    """Return an element of this tag with these parts as its content."""
    content = b"".join(parts)
    length = len(content)
    if length < LONG_LENGTH:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes((tag, LONG_LENGTH | len(octets))) + octets + content


def integer(value: int, tag: int = INTEGER) -> bytes:
    """Return an INTEGER, in two's complement with the fewest octets."""
    return element(tag, value.to_bytes((value if value >= 0 else ~value).bit_length() // 8 + 1, signed=True))


def enumerated(value: int) -> bytes:
    """Return an ENUMERATED."""
    return integer(value, ENUMERATED)


def boolean(value: bool, tag: int = BOOLEAN) -> bytes:  # noqa: FBT001 - it is the value
    """Return a BOOLEAN; true is 0xFF (RFC 4511 5.1)."""
    return element(tag, b"\xff" if value else b"\x00")


def octets(value: bytes, tag: int = OCTET_STRING) -> bytes:
    """Return an OCTET STRING."""
    return element(tag, value)


def text(value: str, tag: int = OCTET_STRING) -> bytes:
    """Return a string in UTF-8."""
    return element(tag, value.encode())


def sequence(*parts: bytes, tag: int = SEQUENCE) -> bytes:
    """Return a SEQUENCE of encoded parts."""
    return element(tag, *parts)


def header(source: bytes, at: int, end: int) -> tuple[int, int, int]:
    """Return the tag of the element at `at`, and where its content begins and ends. Raises GarbledError unless it ends by `end`."""
    start = at + _HEADER
    if start > end:
        raise GarbledError("an element is cut short")
    length = source[at + 1]
    if length >= LONG_LENGTH:
        count = length & 0x7F
        if not 1 <= count <= _MOST_LENGTH_OCTETS or start + count > end:
            raise GarbledError("a length that is not allowed")
        length = int.from_bytes(source[start : start + count])
        start += count
    if start + length > end:
        raise GarbledError("an element is longer than what it is in")
    return source[at], start, start + length


class Reader:
    """Reads the elements of `source` from `start` to `end`, one after the other."""

    def __init__(self, source: bytes, start: int = 0, end: int | None = None) -> None:
        self._source = source
        self._at = start
        self._end = len(source) if end is None else end

    @property
    def tag(self) -> int | None:
        """The tag of the next element; None at the end."""
        return self._source[self._at] if self._at < self._end else None

    def take(self, tag: int) -> bytes:
        """Return the content of the next element, which has this tag."""
        start, end = self._next(tag)
        return self._source[start:end]

    def enter(self, tag: int = SEQUENCE) -> Reader:
        """Return a reader of the parts of the next element, which has this tag."""
        return Reader(self._source, *self._next(tag))

    def skip(self) -> None:
        """Pass over the next element, whatever it is."""
        self._at = header(self._source, self._at, self._end)[2]

    def octets(self, tag: int = OCTET_STRING) -> bytes:
        """Return an OCTET STRING."""
        return self.take(tag)

    def text(self, tag: int = OCTET_STRING) -> str:
        """Return a string; octets that are not UTF-8 are replaced."""
        return self.take(tag).decode("utf-8", "replace")

    def integer(self, tag: int = INTEGER) -> int:
        """Return an INTEGER of at most 64 bits."""
        content = self.take(tag)
        if not 1 <= len(content) <= _MOST_INTEGER_OCTETS:
            raise GarbledError("a number that is not allowed")
        return int.from_bytes(content, signed=True)

    def enumerated(self) -> int:
        """Return an ENUMERATED."""
        return self.integer(ENUMERATED)

    def boolean(self, tag: int = BOOLEAN, *, default: bool = False) -> bool:
        """Return a BOOLEAN, or its default where there is none."""
        return any(self.take(tag)) if self.tag == tag else default

    def _next(self, tag: int) -> tuple[int, int]:
        found, start, end = header(self._source, self._at, self._end)
        if found != tag:
            raise GarbledError(f"an element of type {found:#04x} in place of {tag:#04x}")
        self._at = end
        return start, end
