"""IP addresses: the one place that parses them and handles IPv4-mapped addresses, zones and networks.

An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`, RFC 4291 2.5.5.2) is always the IPv4 address in it: a host has one address,
whichever socket it came through. A zone (`fe80::1%eth0`, RFC 4007 11) is part of an address to connect to or to listen on, and no
part of an address that is compared, counted or written into a message. Pure; the only error is ValueError for a text that is no
address.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from socket import AF_INET, AF_INET6, inet_pton  # noqa: TID251 - packs addresses, opens nothing
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SITE_BITS: Final = 64
"""The prefix of an IPv6 network that one site has for all its hosts (RFC 6177 2)."""
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")
_LOW: Final = (1 << 32) - 1


def parse(text: str) -> Address:
    """Return the address that `text` is, with its zone. ValueError: it is none."""
    address = ip_address(text)
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def translated(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that a packet to this one reaches by a translator or a tunnel (RFC 6052 2.1, RFC 3056 2); None for none."""
    if not isinstance(address, IPv6Address):
        return None
    return IPv4Address(int(address) & _LOW) if address in _TRANSLATED else address.sixtofour


def canonical(text: str) -> str:
    """Return the one spelling of an address, with its zone. ValueError: it is none."""
    try:
        return str(parse(text))
    except ValueError:
        raise ValueError(f"{text} is not an IP address") from None


def without_zone(text: str) -> Address:
    """Return the address that `text` is, without its zone. ValueError: it is none."""
    return parse(text.partition("%")[0])


def peer_address(peername: tuple[str, int] | None) -> str:
    """Return the address in what `getpeername` gave, without port and zone; empty when the peer is gone already."""
    if not peername:
        return ""
    host = peername[0]
    return str(without_zone(host)) if ":" in host else host


def literal(text: str) -> str:
    """Return an address as SMTP writes it in place of a name (RFC 5321 4.1.3). ValueError: it is none."""
    address = without_zone(text)
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"  # noqa: PLR2004 - the version


@lru_cache(1024)
def site(text: str) -> str:
    """Return what the clients of one site have in common: the IPv4 address itself, or the /64. A text that is no address is itself."""
    try:
        address = without_zone(text)
    except ValueError:
        return text
    return (
        str(IPv6Address(int(address) >> SITE_BITS << SITE_BITS)) if isinstance(address, IPv6Address) else str(address)
    )


@lru_cache(1024)
def packed(text: str) -> bytes:
    """Return the octets, 4 or 16, of an address in the form that `peer_address` gives; asked several times for each connection."""
    return inet_pton(AF_INET6 if ":" in text else AF_INET, text)  # a tenth of the time of `parse`


class Networks:
    """A set of networks; the results for the last few thousand addresses are kept."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)
        self._contains = lru_cache(maxsize=4096)(self._look)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: str) -> bool:
        """Return whether this address, in text form without a port, is in one of them; what is none (a peer already gone) is in none."""
        return bool(self._networks and address) and self._contains(address)

    def _look(self, text: str) -> bool:
        try:
            address = parse(text)
        except ValueError:
            return False
        return any(address in network for network in self._networks)
