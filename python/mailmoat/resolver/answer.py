r"""The answers of the DNS, as values: nothing here queries, waits or fails.

Every way a query can end is one of `Found`, `NoName`, `NoData` and `Failed`, so that callers decide by `match` and never
by an exception. A name is text of its labels, lower case, joined by dots, without a final dot, "" for the root; an octet that is no
printable ASCII, a dot inside a label and a backslash are written `\DDD` (RFC 1035 5.1): a label never turns into two. In a name that
is *asked for* there are no escapes: a backslash there is an octet like any other, because the text may come from a stranger.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

Kind = Literal["A", "AAAA", "MX", "TXT", "PTR", "CNAME", "TLSA"]

Association: TypeAlias = tuple[int, int, int, bytes]
"""Certificate usage, selector, matching type, and what is to be matched (RFC 6698 2.1)."""
Record: TypeAlias = "str | tuple[int, str] | bytes | Association"
"""A, AAAA: the address; PTR, CNAME: the name; MX: (preference, name); TXT: its strings, joined (RFC 7208 3.3); TLSA: its association."""


class Failure(StrEnum):
    """Why there is no answer. All but MALFORMED may pass."""

    TIMEOUT = "timeout"
    """No server answered in time, or none could be reached."""
    SERVFAIL = "servfail"
    """A server said that it failed or will not, or its answer could not be read."""
    BOGUS = "bogus"
    """A validating server says that the signatures are wrong (RFC 8914 codes 6 to 12)."""
    BUDGET = "budget"
    """The message has used up its queries or its time."""
    NO_ROOM = "no_room"
    """The time was over before there was an answer, and the query had to wait because too many were on their way."""
    BROKEN = "broken"
    """Not asked: the zone or the servers did not answer of late."""
    MALFORMED = "malformed"
    """Not asked: it is no domain name (RFC 1035 2.3.4)."""


@dataclass(frozen=True, slots=True)
class Found:
    """There are such records, at least one, found by way of CNAMEs where there are any."""

    records: tuple[Record, ...]
    ttl: float
    """Seconds they may be kept from when they came: the least of the whole chain."""
    alias: str = ""
    """The name at the end of the CNAMEs; empty where there are none."""
    authentic: bool = False
    """A validating server that may be trusted (`dns.trust_ad`) has verified all signatures, those of CNAMEs among them (RFC 4035 3.2.3)."""


@dataclass(frozen=True, slots=True)
class NoName:
    """The name does not exist (NXDOMAIN)."""

    ttl: float


@dataclass(frozen=True, slots=True)
class NoData:
    """The name exists and has no such record; or its CNAMEs run in a circle, which is as void (RFC 7208 5.5)."""

    ttl: float


@dataclass(frozen=True, slots=True)
class Failed:
    """Not known."""

    reason: Failure


Answer: TypeAlias = Found | NoName | NoData | Failed
