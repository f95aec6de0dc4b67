"""Which hosts take mail for a domain: its MX records, by preference, random among equals (RFC 5321 5.1, RFC 7505).

Promises: every answer of the DNS becomes an order of names or a refusal. Names only: their addresses are found by `addresses`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat._native import RecipientState
from mailmoat.resolver import Failed, Failure, Found, NoData, NoName

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.mx.refusal import Refusal
    from mailmoat.resolver import Budget, Record, Resolver

NULL_MX: Final = ""
"""The name in a null MX record (RFC 7505 3)."""
_SHUFFLE: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Exchanger:
    """One MX record."""

    preference: int
    name: str


@dataclass(frozen=True, slots=True)
class Exchangers:
    """The hosts of a domain."""

    order: tuple[Exchanger, ...]
    """As they are tried, at least one."""
    implicit: bool = False
    """There is no MX record: the domain is its own host."""
    alias: str = ""
    """The name at the end of the domain's CNAMEs; empty where it has none."""
    authentic: bool = False
    """The MX records are known to be the domain's own (RFC 7672 2.2.1)."""

    @property
    def names(self) -> tuple[str, ...]:
        """The hosts alone."""
        return tuple(each.name for each in self.order)


async def exchangers(domain: str, resolver: Resolver, budget: Budget) -> Exchangers | Refusal:
    """Return the hosts of a domain, or why there is none: it does not exist, accepts no mail, or the DNS does not say."""
    match await resolver.query(domain, "MX", budget):
        case Found(records=records, alias=alias, authentic=authentic):
            named = [each for each in _records(records) if each.name != NULL_MX]
            if not named:
                return null_mx(domain)
            # A null MX beside others contradicts them (RFC 7505 3); that they are there says that the domain takes mail.
            return Exchangers(_ordered(named), alias=alias, authentic=authentic)
        case NoData():
            return Exchangers((Exchanger(0, domain),), implicit=True)
        case NoName() | Failed(reason=Failure.MALFORMED):
            return no_domain(domain)
        case Failed(reason=reason):
            return unknown(domain, reason)


def before(order: tuple[Exchanger, ...], is_own: Callable[[str], bool]) -> tuple[Exchanger, ...]:
    """Return those that are preferred to this server: it and all of equal or worse preference would send the message round (RFC 5321 5.1)."""
    limit = min((each.preference for each in order if is_own(each.name)), default=None)
    return order if limit is None else tuple(each for each in order if each.preference < limit)


def null_mx(domain: str) -> Refusal:
    """Return the refusal for a domain that accepts no mail (RFC 7505 4.1)."""
    return RecipientState.FAILED, f"556 5.1.10 {domain} accepts no mail (null MX)"


def no_domain(domain: str) -> Refusal:
    """Return the refusal for a domain that is none, or has no address and no MX."""
    return RecipientState.FAILED, f"550 5.1.2 {domain} does not exist, or has no mail server"


def unknown(name: str, reason: Failure) -> Refusal:
    """Return the refusal for a name of which the DNS does not answer."""
    return RecipientState.PENDING, f"451 4.4.3 The DNS gives no answer for {name}: {reason}"


def looping(domain: str) -> Refusal:
    """Return the refusal for a domain whose best host is this server."""
    return RecipientState.FAILED, f"554 5.4.6 The mail server of {domain} is this server: the message would loop"


def _records(records: tuple[Record, ...]) -> list[Exchanger]:
    found = []
    for record in records:
        match record:
            case (int() as preference, str() as name):
                found.append(Exchanger(preference, name))
    return found


def _ordered(found: list[Exchanger]) -> tuple[Exchanger, ...]:
    """Return them by preference, those of equal preference by chance; a host that is there twice where it is preferred."""
    chance = {each: clock.random_below(_SHUFFLE) for each in found}
    ordered = sorted(found, key=lambda each: (each.preference, chance[each]))
    best: dict[str, Exchanger] = {}
    for each in ordered:
        best.setdefault(each.name, each)
    return tuple(best.values())
