"""Questions to octets and octets to answers (RFC 1035 4, RFC 6891). Pure and total: any octets give an answer.

Queries are written here; answers are parsed by `rust/machine/dns.rs`.
"""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass
from typing import Final

from mailmoat import _native
from mailmoat._native import AnswerKind
from mailmoat.resolver.answer import Answer, Failed, Failure, Found, NoData, NoName

TYPES: Final = {"A": 1, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "TLSA": 52}

_HEADER: Final = struct.Struct("!HHHHHH")
_ASKS: Final = 0x0120
"""RD, and AD: say whether it is authentic (RFC 6840 5.7)."""
_CLASS_IN: Final = 1
_OPT: Final = struct.pack("!BHHBBHH", 0, 41, 1232, 0, 0, 0x8000, 0)
"""EDNS version 0, DO, answers up to 1232 octets over UDP: they pass everywhere unfragmented."""

_RESPONSE: Final = 0x8000
_OPCODE: Final = 0x7800
_TRUNCATED: Final = 0x0200
_RCODE: Final = 0x000F
_AUTHENTIC: Final = 0x20
"""AD, in the fourth octet (RFC 4035 3.2.3)."""

UNREADABLE: Final = Failed(Failure.SERVFAIL)


@dataclass(frozen=True, slots=True)
class Query:
    """One query under one id."""

    octets: bytes
    asked: bytes
    """The question section."""

    def answered_by(self, octets: bytes) -> bool:
        """Return whether it is an answer to this query: anything else that comes is passed over, as it may be forged."""
        if len(octets) < _HEADER.size or octets[:2] != self.octets[:2]:
            return False
        _, flags, questions, *_ = _HEADER.unpack_from(octets)
        if flags & (_RESPONSE | _OPCODE) != _RESPONSE:
            return False
        if questions == 0:
            return bool(flags & _RCODE)
        return questions == 1 and octets[12 : 12 + len(self.asked)].lower() == self.asked


def query(labels: tuple[bytes, ...], kind: str) -> Query:
    """Return a query with an id nobody can guess, for labels in lower case."""
    asked = b"".join(bytes((len(label),)) + label for label in labels)
    asked += struct.pack("!BHH", 0, TYPES[kind], _CLASS_IN)
    return Query(_HEADER.pack(secrets.randbelow(1 << 16), _ASKS, 1, 0, 0, 1) + asked + _OPT, asked)


def truncated(octets: bytes) -> bool:
    """Return whether the whole answer has to be fetched over TCP."""
    return bool(octets[2] & (_TRUNCATED >> 8))


def read(octets: bytes, *, trusted: bool = False) -> Answer:
    """Return the answer of a server, or Failed for SERVFAIL or BOGUS; `trusted`: what it says of authenticity counts."""
    kind, ttl, records, alias = _native.read_answer(octets)
    match kind:
        case AnswerKind.FOUND:
            return Found(records, ttl, alias, authentic=trusted and bool(octets[3] & _AUTHENTIC))
        case AnswerKind.NO_NAME:
            return NoName(ttl)
        case AnswerKind.NO_DATA:
            return NoData(ttl)
        case AnswerKind.BOGUS:
            return Failed(Failure.BOGUS)
    return UNREADABLE
