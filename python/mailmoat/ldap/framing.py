"""The stream of a server as messages: each is one BER element, whole (RFC 4511 5.2). Values only.

A message of more than `LARGEST` octets, or a stream that is not LDAP, is GarbledError: what is kept is bounded by `LARGEST` and one chunk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat.ldap.ber import LONG_LENGTH, SEQUENCE, GarbledError

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST: Final = 16 << 20
"""Octets of one message: one entry with the attributes that were asked for."""
_SHORT_HEADER: Final = 2
_MOST_LENGTH_OCTETS: Final = 4


class Framer:
    """Cuts a stream into messages."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._wanted = 0

    @property
    def empty(self) -> bool:
        """Whether no octet is kept of a message that is not whole."""
        return not self._kept

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take octets as they came, and yield the messages that are whole now. Raises GarbledError behind the last good one."""
        self._kept += chunk
        if len(self._kept) < self._wanted:
            return
        stream, at = bytes(self._kept), 0
        while (size := _size(stream, at)) and at + size <= len(stream):
            yield stream[at : at + size]
            at += size
        self._kept = bytearray(stream[at:])
        self._wanted = size


def _size(stream: bytes, at: int) -> int:
    """Return the octets of the message that begins at `at`; 0 while its header is not whole."""
    if len(stream) < at + _SHORT_HEADER:
        return 0
    if stream[at] != SEQUENCE:
        raise GarbledError("what the server sends is not LDAP")
    length = stream[at + 1]
    if length < LONG_LENGTH:
        return _SHORT_HEADER + length
    count = length & 0x7F
    if not 1 <= count <= _MOST_LENGTH_OCTETS:
        raise GarbledError("a length that is not allowed")
    start = at + _SHORT_HEADER + count
    if len(stream) < start:
        return 0
    length = int.from_bytes(stream[at + _SHORT_HEADER : start])
    if length > LARGEST:
        raise GarbledError(f"a message of {length} octets, more than {LARGEST}")
    return _SHORT_HEADER + count + length
