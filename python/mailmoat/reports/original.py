"""The original message in a report: whole where it may travel as it is, else its header section.

Pure. Promises: the octets of a whole message are not changed; every line has at most 998 octets and ends in CRLF, and what is
declared 7bit or 8bit is so (RFC 2045 2.7, 2.8). A header section that breaks those rules is put in quoted-printable, which
RFC 6522 4 and RFC 6533 5 allow for headers but RFC 2046 5.2.1 forbids for message/rfc822.
"""

from __future__ import annotations

import re
from base64 import encodebytes
from binascii import b2a_qp
from typing import Final, NamedTuple

MAX_LINE: Final = 998
"""Octets in a line without its CRLF (RFC 5322 2.1.1)."""
MAX_HEADER: Final = 65_536
"""Octets of a header section in a report; a longer one is cut at a line end."""

WHOLE: Final = frozenset({"message/rfc822", "message/global"})
"""Types of a whole message."""


class Part(NamedTuple):
    """One body part; `encoding` is its Content-Transfer-Encoding."""

    content_type: str
    encoding: str
    body: bytes

    def seven_bit(self) -> Part:
        """Return the same encoded where it is not ASCII, the shorter way; a whole message stays, because it must not be encoded."""
        if self.encoding != "8bit" or self.content_type in WHOLE:
            return self
        quoted, base64 = _quoted_printable(self.body), encodebytes(self.body).replace(b"\n", b"\r\n")
        if len(quoted) <= len(base64):
            return Part(self.content_type, "quoted-printable", quoted)
        return Part(self.content_type, "base64", base64)


def original_part(original: bytes, *, whole: bool) -> Part:
    """Return the part for the original message, of the plainest type that holds it; UTF-8 in the header makes it a `global` one."""
    header = header_section(original)
    utf8 = not header.isascii() and _is_utf8(header)
    if whole and _fits_lines(original):
        return Part("message/global" if utf8 else "message/rfc822", encoding_of(original), original)
    kind = "message/global-headers" if utf8 else "text/rfc822-headers"
    if _fits_lines(header) and (utf8 or header.isascii()):
        return Part(kind, encoding_of(header), header)
    return Part(kind, "quoted-printable", _quoted_printable(header))


def header_section(original: bytes) -> bytes:
    """Return the header fields, each line with its CRLF, cut at `MAX_HEADER`."""
    if original.startswith(b"\r\n"):
        return b""
    header = original.partition(b"\r\n\r\n")[0].removesuffix(b"\r\n") + b"\r\n"
    if len(header) <= MAX_HEADER:
        return header
    cut = header[:MAX_HEADER]
    return (cut.rpartition(b"\r\n")[0] or cut) + b"\r\n"


def header_field(original: bytes, name: str) -> str:
    """Return the value of the first field with this name, unfolded, as it was written; empty when there is none."""
    pattern = rb"(?im)^" + name.encode() + rb"[ \t]*:((?:[^\r\n]*(?:\r\n(?=[ \t]))?)*)"
    found = re.search(pattern, header_section(original))
    return found[1].decode(errors="replace").replace("\r\n", "").strip() if found else ""


def encoding_of(body: bytes) -> str:
    """Return the Content-Transfer-Encoding of a body that consists of lines."""
    return "7bit" if body.isascii() else "8bit"


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def _fits_lines(octets: bytes) -> bool:
    """Return whether these are lines, none too long, without NUL and without a single CR or LF."""
    alone = octets.replace(b"\r\n", b"")
    return max(map(len, octets.split(b"\r\n"))) <= MAX_LINE and not any(
        octet in alone for octet in (b"\r", b"\n", b"\0")
    )


def _quoted_printable(octets: bytes) -> bytes:
    """Encode as in RFC 2045 6.7; a CR or LF on its own is spelled out."""
    lines = (b2a_qp(line, istext=False).replace(b"=\n", b"=\r\n") for line in octets.split(b"\r\n"))
    return b"\r\n".join(lines)
