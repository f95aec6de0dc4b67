"""Whether a next hop is this server itself, which would be a mail loop.

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
    from collections.abc import Iterator

    from mailmoat.net.address import Address
    from mailmoat.settings import Listener, NextHop, Settings
    from mailmoat.settings.next_hop import Server


def loops(settings: Settings) -> list[str]:
    """Return a sentence with the fix for each of our listeners that is a next hop."""
    return [
        f"{key} = {hop}: {wrong}; write where the mailboxes are"
        for key, hop in _next_hops(settings)
        for wrong in loops_of(hop, settings)
    ]


def loops_of(hop: NextHop, settings: Settings) -> list[str]:
    """Return what is wrong with each server of a next hop that is one of our listeners."""
    return [
        f"{server.place} is this server itself, which listens on {listener}"
        for server in hop.servers
        for listener in _listeners(server, settings)
    ]


def without_address(settings: Settings) -> list[str]:
    """Return a sentence for each name of a next hop that has no address now, and for each Unix socket that is not there."""
    found = []
    for key, hop in _next_hops(settings):
        for server in hop.servers:
            if server.socket is not None and not server.socket.is_socket():
                found.append(f"{key} = {hop}: {server.socket} is no socket now; is the server behind it running?")
            elif server.host and not _addresses(server.host):
                found.append(f"{key} = {hop}: {server.host} has no address now; check the name")
    return found


def _next_hops(settings: Settings) -> Iterator[tuple[str, NextHop]]:
    """Yield each next hop with the key of its setting."""
    if settings.delivery.next_hop is not None:
        yield "delivery.next_hop", settings.delivery.next_hop
    if settings.ndr.unresolved_next_hop is not None:
        yield "ndr.unresolved_next_hop", settings.ndr.unresolved_next_hop
    for number, route in enumerate(settings.routes, 1):
        yield f"routes[{number}].next_hop", route.next_hop


def _listeners(server: Server, settings: Settings) -> list[Listener]:
    """Return our own listeners that a connection to a server arrives at."""
    listeners = [listener for listener in settings.listen if server.host and listener.port == server.port]
    reached = _addresses(server.host) if listeners else []
    return [
        listener
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
