"""The TLSA records of a host: what DANE says of its certificate (RFC 7672 2.2, RFC 7671).

Only what a trusted validating resolver has verified is a record here (`Found.authentic`). What cannot be found out makes the host
unreachable: an attacker who suppresses an answer must not get clear text by it (RFC 7672 2.1.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from mailmoat.resolver import Failed, Found

if TYPE_CHECKING:
    from mailmoat.mx.addresses import Located
    from mailmoat.resolver import Budget, Record, Resolver
    from mailmoat.resolver.answer import Association

LENGTHS: Final = {1: 32, 2: 64}
"""Octets of a digest, by matching type (RFC 6698 2.1.3)."""
_TRUST_ANCHOR, _END_ENTITY = 2, 3
_FULL: Final = 0


class NoTlsa(Enum):
    """Why there are no records."""

    NONE = "DANE does not apply"
    UNKNOWN = "the DNS gives no answer"


@dataclass(frozen=True, slots=True)
class Tlsa:
    """The records of a host, at least one."""

    base: str
    """The TLSA base domain: the name that the certificate is for."""
    records: tuple[Association, ...]

    @property
    def usable(self) -> tuple[Association, ...]:
        """Those by which a server can be authenticated; empty: TLS is needed all the same (RFC 7672 2.2)."""
        return tuple(record for record in self.records if is_usable(record))


async def tlsa(host: str, port: int, located: Located, resolver: Resolver, budget: Budget) -> Tlsa | NoTlsa:
    """Return the records of a host whose addresses are known, or that there are none."""
    candidates = [located.alias, host] if located.alias else [host]
    if not located.authentic:
        # Zones that are not signed have no records, and some of their servers do not answer the question (RFC 7672 2.2.2).
        if not located.alias:
            return NoTlsa.NONE
        match await resolver.query(host, "CNAME", budget):
            case Failed():
                return NoTlsa.UNKNOWN
            case Found(authentic=True):
                candidates = [host]
            case _:
                return NoTlsa.NONE
    for base in candidates:
        match await resolver.query(f"_{port}._tcp.{base}", "TLSA", budget):
            case Found(records=records, authentic=True):
                return Tlsa(base, associations(records))
            case Failed():
                return NoTlsa.UNKNOWN
    return NoTlsa.NONE


def is_usable(record: Association) -> bool:
    """Return whether a record can authenticate a server of SMTP: usages 0 and 1 cannot (RFC 7672 3.1.3)."""
    usage, selector, matching, octets = record
    fits = bool(octets) if matching == _FULL else len(octets) == LENGTHS.get(matching, -1)
    return usage in {_TRUST_ANCHOR, _END_ENTITY} and selector in {0, 1} and fits


def associations(records: tuple[Record, ...]) -> tuple[Association, ...]:
    """Return what TLSA records say."""
    found = []
    for record in records:
        match record:
            case (int() as usage, int() as selector, int() as matching, bytes() as octets):
                found.append((usage, selector, matching, octets))
    return tuple(found)


def written(record: Association) -> str:
    """Return a record in presentation form (RFC 6698 2.2)."""
    usage, selector, matching, octets = record
    return f"{usage} {selector} {matching} {octets.hex()}"
