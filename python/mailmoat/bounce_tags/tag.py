"""The tag of a reverse-path: `prvs=KDDDSSSSSS=local@domain`, as Bounce Address Tag Validation (draft-levine-smtp-batv) writes it.

`K` is the number of the key, `DDD` the last day on which the tag holds (days since the epoch, modulo 1000), `SSSSSS` the first three octets
of an HMAC-SHA-256 over these and the address in small letters, in hexadecimal digits. Only who made a tag can check it, so the choice of
the hash is ours. Pure; raises nothing.

Not signed: an address that has a tag or the mark of a forwarder (SRS) already, one whose local part is quoted, and one that would become longer than
the 64 octets of RFC 5321 4.5.3.1.1. Where nothing is signed no tag is expected.
"""

from __future__ import annotations

import hmac
import re
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

DAYS: Final = 1000
"""Days after which their numbers repeat."""
LONGEST: Final = 100
"""Days for which a tag may hold: one with a later day is forged."""
LONGEST_LOCAL: Final = 64
MARKS: Final = ("prvs=", "srs0=", "srs0+", "srs0-", "srs1=", "srs1+", "srs1-")

_TAGGED: Final = re.compile(r"prvs=([0-9])([0-9]{3})([0-9a-f]{6})=(.+)", re.ASCII | re.IGNORECASE)


class Key(NamedTuple):
    """A key and its number."""

    number: int
    """0 to 9."""
    made: int
    """The day on which it was made, in days since the epoch."""
    octets: bytes

    def __repr__(self) -> str:
        return f"Key({self.number}, {self.made})"


class Check(Enum):
    """What a tag is worth."""

    VALID = "made here, and it still holds"
    EXPIRED = "made here, and its last day is over"
    FORGED = "not made here, or by a key that is gone"


class Tagged(NamedTuple):
    """The local part of an address with a tag."""

    number: int
    day: int
    signature: str
    local: str
    """Without the tag."""


def parse(local: str) -> Tagged | None:
    """Return the parts of a local part; None of one without a tag."""
    if local[:5].lower() != MARKS[0]:
        return None
    found = _TAGGED.fullmatch(local)
    return None if found is None else Tagged(int(found[1]), int(found[2]), found[3].lower(), found[4])


def is_signed(local: str) -> bool:
    """Return whether an address with this local part is signed when it leaves."""
    room = LONGEST_LOCAL - len("prvs=KDDDSSSSSS=")
    return local[:1] != '"' and not local.lower().startswith(MARKS) and len(local.encode()) <= room


def sign(local: str, domain: str, key: Key, last_day: int) -> str:
    """Return the local part with a tag that holds until the end of a day."""
    day = last_day % DAYS
    return f"prvs={key.number}{day:03d}{_signature(key, day, local, domain)}={local}"


def check(tagged: Tagged, domain: str, keys: Sequence[Key], today: int) -> Check:
    """Return what the tag of an address is worth on this day."""
    for key in keys:
        expected = _signature(key, tagged.day, tagged.local, domain)
        if key.number == tagged.number and hmac.compare_digest(expected, tagged.signature):
            left = (tagged.day - today) % DAYS
            return Check.VALID if left <= LONGEST else Check.EXPIRED
    return Check.FORGED


def _signature(key: Key, day: int, local: str, domain: str) -> str:
    signed = f"{key.number}{day:03d}{local}@{domain}".lower().encode()
    return hmac.digest(key.octets, signed, "sha256")[:3].hex()
