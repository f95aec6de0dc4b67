"""What workers and the directory process say to each other over the socket `SPOOL/directory/live`.

A frame is its length and a number, four octets each in network order, and as many octets as the length says. The directory process says first
which sources it asks (`greeting`); in a reload that may be those of before, and a worker asks only its own. A worker sends lines: an address, the client that
names it, and the reply of a next hop where that has refused a message for the address; without a reply it is a lookup. The answer to that has the same number, one octet for what
is known of the address, and lines: the name of the source that decided, and the addresses that get the mail instead. Lookups and
answers are in no common order. Both sides are bounded: a peer that sends a longer frame, or one that cannot be read, loses the connection.
Pure: no socket, no clock.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat.directory.directory import Presence

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_REQUEST: Final = 2048
"""Octets of a request: more than any address of an envelope has (RFC 5321 4.5.3.1)."""
LONGEST_ANSWER: Final = 1 << 19
"""Octets of an answer: a thousand targets, the longest there are."""
NUMBERS: Final = 1 << 32

_PREFIX: Final = struct.Struct("!II")
_CODES: Final = {Presence.EXISTS: b"\x01", Presence.ABSENT: b"\x02", Presence.UNKNOWN: b"\x03"}
_MEANINGS: Final = {code[0]: presence for presence, code in _CODES.items()}


class FrameError(Exception):
    """What came is no frame of ours."""


class Request(NamedTuple):
    """What a worker sends."""

    address: str
    client: str = ""
    """The client that names the address, as its lookups are counted; empty where they are not."""
    refusal: str = ""
    """How a next hop refused a message for the address; empty for a lookup."""


class LiveReply(NamedTuple):
    """What the live sources say of an address."""

    presence: Presence
    targets: tuple[str, ...] = ()
    """Addresses that get its mail instead; none = it is delivered to itself."""
    source: str = ""
    """The name of the source that decided; empty where none did."""


UNKNOWN: Final = LiveReply(Presence.UNKNOWN)


class Frames:
    """Takes octets as they come, and gives frames."""

    def __init__(self, longest: int) -> None:
        """Make one for frames of at most `longest` octets."""
        self._longest = longest
        self._rest = b""

    def feed(self, octets: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the number and the content of each frame that is complete. FrameError for one that is too long."""
        octets, at = self._rest + octets, 0
        while len(octets) - at >= _PREFIX.size:
            length, number = _PREFIX.unpack_from(octets, at)
            if length > self._longest:
                raise FrameError(f"a frame of {length} octets, more than {self._longest}")
            end = at + _PREFIX.size + length
            if end > len(octets):
                break
            yield number, octets[at + _PREFIX.size : end]
            at = end
        self._rest = octets[at:]


def greeting(digest: str) -> bytes:
    """Return the frame that says which sources are asked: the digest of their settings."""
    content = digest.encode()
    return _PREFIX.pack(len(content), 0) + content


def request(number: int, address: str, client: str = "", refusal: str = "") -> bytes:
    """Return the frame of a `Request`; one with a refusal has no answer, and the end of a long refusal is cut off. ValueError where the address is too long."""
    content = f"{address}\n{client}\n".encode()
    if len(content) > LONGEST_REQUEST:
        raise ValueError("the address is too long")
    content += refusal.encode()[: LONGEST_REQUEST - len(content)].decode(errors="ignore").encode()
    return _PREFIX.pack(len(content), number) + content


def answer(number: int, reply: LiveReply) -> bytes:
    """Return the frame of an answer; UNKNOWN where its targets are too long for one."""
    content = _CODES[reply.presence] + "\n".join((reply.source, *reply.targets)).encode()
    if len(content) > LONGEST_ANSWER:
        content = _CODES[Presence.UNKNOWN] + reply.source.encode()
    return _PREFIX.pack(len(content), number) + content


def read_request(content: bytes) -> Request:
    """Return a request. FrameError when it is none."""
    try:
        return Request(*content.decode().split("\n", 2))
    except UnicodeDecodeError:
        raise FrameError("an address that is no UTF-8") from None


def read_answer(content: bytes) -> LiveReply:
    """Return an answer. FrameError when it cannot be read."""
    try:
        source, *targets = content[1:].decode().split("\n")
        return LiveReply(_MEANINGS[content[0]], tuple(targets), source)
    except (IndexError, KeyError, UnicodeDecodeError):
        raise FrameError("not an answer") from None
