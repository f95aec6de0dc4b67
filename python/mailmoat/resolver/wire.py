"""Questions to octets and octets to answers (RFC 1035 4, RFC 6891, RFC 2308, RFC 8914). Pure and total: any octets give an answer.

Writing a question is a few fields and done here; reading what came back is dnspython's.
"""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from mailmoat.resolver import names
from mailmoat.resolver.answer import Answer, Failed, Failure, Found, NoData, NoName, Record

if TYPE_CHECKING:
    from dns.rdtypes.ANY.CNAME import CNAME
    from dns.rdtypes.ANY.MX import MX
    from dns.rdtypes.ANY.TXT import TXT
    from dns.rdtypes.IN.A import A

TYPES: Final = {"A": 1, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}

_HEADER: Final = struct.Struct("!HHHHHH")
_ASKS: Final = 0x0120
"""RD, and AD: tell me whether it is authentic (RFC 6840 5.7)."""
_CLASS_IN: Final = 1
_OPT: Final = struct.pack("!BHHBBHH", 0, 41, 1232, 0, 0, 0x8000, 0)
"""EDNS version 0, DO, answers up to 1232 octets over UDP: they pass everywhere unfragmented."""

_RECORD: Final = struct.Struct("!HHIH")
_POINTER: Final = 0xC0

_RESPONSE: Final = 0x8000
_OPCODE: Final = 0x7800
_TRUNCATED: Final = 0x0200
_RCODE: Final = 0x000F

BOGUS: Final = range(dns.edns.EDECode.DNSSEC_BOGUS, dns.edns.EDECode.NSEC_MISSING + 1)
UNREADABLE: Final = Failed(Failure.SERVFAIL)
MOST_RECORDS: Final = 300
MOST_STRINGS: Final = 2000
"""Reading a record costs some 40 us and a string of a TXT record 5 us: what has more of them would hold up everybody else."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question under one id."""

    octets: bytes
    asked: bytes
    """The question section."""

    def answered_by(self, octets: bytes) -> bool:
        """Whether it is an answer to this question: anything else that comes is passed over, as it may be forged."""
        if len(octets) < _HEADER.size or octets[:2] != self.octets[:2]:
            return False
        _, flags, questions, *_ = _HEADER.unpack_from(octets)
        if flags & (_RESPONSE | _OPCODE) != _RESPONSE:
            return False
        if questions == 0:
            return bool(flags & _RCODE)
        return questions == 1 and octets[12 : 12 + len(self.asked)].lower() == self.asked


def question(labels: tuple[bytes, ...], kind: str) -> Question:
    """A question with an id nobody can guess, for labels in lower case."""
    asked = b"".join(bytes((len(label),)) + label for label in labels)
    asked += struct.pack("!BHH", 0, TYPES[kind], _CLASS_IN)
    return Question(_HEADER.pack(secrets.randbelow(1 << 16), _ASKS, 1, 0, 0, 1) + asked + _OPT, asked)


def truncated(octets: bytes) -> bool:
    """Whether the whole answer has to be fetched over TCP."""
    return bool(octets[2] & (_TRUNCATED >> 8))


def read(octets: bytes) -> Answer:
    """The answer of a server; where that is no answer Failed, for SERVFAIL or BOGUS."""
    try:
        if _laborious(octets):
            return UNREADABLE
        *_, answers, _, _ = _HEADER.unpack_from(octets)
        if answers and not octets[3] & _RCODE:
            # Found by what it answers alone, mostly; the sections after that take as long to read again.
            found = _read(dns.message.from_wire(octets[:8] + bytes(4) + octets[12:], ignore_trailing=True))
            if isinstance(found, Found):
                return found
        return _read(dns.message.from_wire(octets, ignore_trailing=True))
    except (dns.exception.DNSException, ValueError, struct.error, IndexError):
        return UNREADABLE


def _laborious(octets: bytes) -> bool:
    """Whether reading it would take too long. Walks over the records, and over the strings of TXT ones."""
    _, _, questions, *counts = _HEADER.unpack_from(octets)
    records, strings, at = sum(counts), 0, _HEADER.size
    if records > MOST_RECORDS:
        return True
    for _ in range(questions):
        at = _after_name(octets, at) + 4
    for _ in range(records):
        at = _after_name(octets, at)
        kind, _, _, length = _RECORD.unpack_from(octets, at)
        at += _RECORD.size
        end = at + length
        while kind == TYPES["TXT"] and at < end and strings <= MOST_STRINGS:
            at += 1 + octets[at]
            strings += 1
        at = end
    return strings > MOST_STRINGS


def _after_name(octets: bytes, at: int) -> int:
    """Where the name ends that begins there, its pointer not followed (RFC 1035 4.1.4)."""
    while 0 < octets[at] < _POINTER:
        at += 1 + octets[at]
    return at + (2 if octets[at] else 1)


def _read(message: dns.message.Message) -> Answer:
    rcode = message.rcode()
    if rcode not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN} or not isinstance(message, dns.message.QueryMessage):
        bogus = any(error.code in BOGUS for error in message.extended_errors())
        return Failed(Failure.BOGUS) if bogus else UNREADABLE
    try:
        chain = message.resolve_chaining()
    except dns.message.ChainTooLong:
        return NoData(min(found.ttl for found in message.answer))
    if chain.answer is not None:
        return Found(_records(chain.answer), chain.minimum_ttl)
    # What has no SOA may not be kept (RFC 2308 5).
    ttl = chain.minimum_ttl if any(found.rdtype == dns.rdatatype.SOA for found in message.authority) else 0
    if rcode == dns.rcode.NXDOMAIN:
        return NoName(ttl)
    return UNREADABLE if _lame(message) else NoData(ttl)


def _lame(message: dns.message.Message) -> bool:
    """A server that only knows others to ask: it neither recurses nor is it the zone's."""
    refers = any(found.rdtype == dns.rdatatype.NS for found in message.authority)
    return refers and not message.flags & (dns.flags.RA | dns.flags.AA)


def _records(found: dns.rrset.RRset) -> tuple[Record, ...]:
    match dns.rdatatype.to_text(found.rdtype):
        case "A" | "AAAA":
            return tuple(cast("A", record).address for record in found)
        case "TXT":
            return tuple(cast("TXT", record).strings for record in found)
        case "MX":
            return tuple((cast("MX", record).preference, _name(cast("MX", record).exchange)) for record in found)
        case "PTR" | "CNAME":
            return tuple(_name(cast("CNAME", record).target) for record in found)
    return ()


def _name(name: dns.name.Name) -> str:
    return names.text(name.labels)
