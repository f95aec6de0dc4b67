"""What is asked of a list in the DNS, and what an answer means (RFC 5782 2.1, 2.4). Pure; never fails.

Only an address in 127.0.0.0/8 can mean that a client is listed. Some of them never do: those in 127.255.255.0/24, and 127.0.0.1, by
which providers say that they do not answer us; and 127.0.0.255 of a list that allows, where all bits at once are no trust. Anything
outside 127.0.0.0/8 comes from a zone that is gone, and whose names all lead to somebody else's web page.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address
from typing import TYPE_CHECKING, Final, TypeAlias

from mailmoat.resolver import Failed, Failure, Found

if TYPE_CHECKING:
    from mailmoat.resolver import Answer
    from mailmoat.settings.sections.dns_lists import DnsListProvider

LISTED: Final = IPv4Address("127.0.0.2")
NOT_LISTED: Final = IPv4Address("127.0.0.1")
LISTED_IPV6: Final = IPv6Address("::ffff:7f00:2")
NOT_LISTED_IPV6: Final = IPv6Address("::ffff:7f00:1")
"""The test entries (RFC 5782 5)."""

LOOPBACK: Final = IPv4Network("127.0.0.0/8")
REFUSALS: Final = IPv4Network("127.255.255.0/24")
ALLOW_REFUSAL: Final = IPv4Address("127.0.0.255")

Address: TypeAlias = IPv4Address | IPv6Address


class Outcome(StrEnum):
    """How a lookup ended; the label of the metric."""

    LISTED = "listed"
    NOT_LISTED = "not_listed"
    REFUSED = "refused"
    """The provider does not answer our name server."""
    FOREIGN = "foreign"
    """The answer is no address in 127.0.0.0/8."""
    NO_ANSWER = "no_answer"
    NOT_ASKED = "not_asked"
    """The provider is out of force or has no IPv6 addresses, or the resolver had no room for the query."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer means; `address` is the one that decided, as text, or why there is none."""

    outcome: Outcome
    address: str = ""


def query_name(address: Address, zone: str) -> str:
    """Return the name to ask for: the octets, or the nibbles, in reverse order, above the zone."""
    parts = str(address).split(".") if isinstance(address, IPv4Address) else list(address.packed.hex())
    return ".".join((*reversed(parts), zone))


def read(answer: Answer, provider: DnsListProvider) -> Reading:
    """Return what an answer to the query for A records means."""
    if isinstance(answer, Failed):
        if answer.reason is Failure.NO_ROOM:
            return Reading(Outcome.NOT_ASKED, answer.reason)
        late = answer.reason is Failure.BUDGET  # its time is over: there are queries enough for each list
        return Reading(Outcome.NO_ANSWER, Failure.TIMEOUT if late else answer.reason)
    if not isinstance(answer, Found):
        return Reading(Outcome.NOT_LISTED)
    readings = [_read(str(record), provider) for record in answer.records]
    return min(readings, key=lambda reading: _GRAVITY.index(reading.outcome))


_GRAVITY: Final = (Outcome.FOREIGN, Outcome.REFUSED, Outcome.LISTED, Outcome.NOT_LISTED)
"""Of several addresses in one answer, that with the first of these counts."""


def _read(text: str, provider: DnsListProvider) -> Reading:
    try:
        address = IPv4Address(text)
    except AddressValueError:
        return Reading(Outcome.FOREIGN, text)
    if address not in LOOPBACK:
        return Reading(Outcome.FOREIGN, text)
    if address in REFUSALS or address == NOT_LISTED or (provider.kind == "allow" and address == ALLOW_REFUSAL):
        return Reading(Outcome.REFUSED, text)
    if not provider.answers and not provider.bit_mask:
        return Reading(Outcome.LISTED, text)
    matches = any(pattern.matches(address) for pattern in provider.answers) or int(address) & provider.bit_mask
    return Reading(Outcome.LISTED if matches else Outcome.NOT_LISTED, text)
