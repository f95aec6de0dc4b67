"""Whether the next hop is this server itself, which would be a mail loop.

A name is looked up once, by the system's resolver; one that cannot be found now is no
mistake, because the client machine recognises our own greeting, too. Waits only for the resolver.
"""

from __future__ import annotations

import socket  # noqa: TID251 - asks the kernel which addresses are ours; nothing is sent
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from mailmoat.net import address as addresses
from mailmoat.net.own import is_own

if TYPE_CHECKING:
    from mailmoat.net.address import Address
    from mailmoat.settings import Settings


def loops(settings: Settings) -> list[str]:
    """Return a sentence with the fix for each of our listeners that is the next hop."""
    hop = settings.delivery.next_hop
    if hop is None or not hop.host:
        return []
    listeners = [listener for listener in settings.listen if listener.port == hop.port]
    reached = _addresses(hop.host) if listeners else []
    return [
        f"delivery.next_hop = {hop}: is this server itself, which listens on {listener}; write where the mailboxes are"
        for listener in listeners
        if any(_is_served(addresses.parse(listener.host), address) for address in reached)
    ]


def _addresses(host: str) -> list[Address]:
    try:
        return [addresses.parse(host)]
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list({addresses.without_zone(str(entry[4][0])) for entry in found})


def _is_served(listening: Address, address: Address) -> bool:
    """Return whether a connection to `address` arrives at a listener on `listening`."""
    if address.is_unspecified:
        # Linux connects to loopback.
        address = IPv4Address("127.0.0.1") if address.version == 4 else IPv6Address("::1")  # noqa: PLR2004 - the version
    if listening.version != address.version:
        return False
    return is_own(address) if listening.is_unspecified else listening == address
