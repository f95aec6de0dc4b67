"""Warnings about a scheme that is not what is spoken at its port, by RFC 5321 4.5.4.2, RFC 6409 3.1 and RFC 8314 7.3.

If one side waits for TLS and the other for a greeting, nothing is said until one of them gives up.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailmoat.settings.tree import Settings


def port_warnings(settings: Settings) -> Iterator[str]:
    """Yield one sentence for each listener and each next hop at a port where something else is spoken."""
    yield from _listeners(settings)
    yield from _next_hops(settings)


def _listeners(settings: Settings) -> Iterator[str]:
    for each in settings.listen:
        if each.proxy:  # clients connect to the balancer, whose port is another, and which may end TLS
            continue
        match each.port:
            case 25 if each.implicit_tls or each.submission:
                wrong = "other servers deliver there, in clear at first and without an account, and cannot"
                meant = replace(each, implicit_tls=False, submission=False)
            case 465 if not each.implicit_tls:
                wrong = "clients begin TLS there with the first octet, and get no answer"
                meant = replace(each, implicit_tls=True, submission=True)
            case 587 if each.implicit_tls:
                wrong = "clients begin there in clear and wait for a greeting, which does not come"
                meant = replace(each, implicit_tls=False, submission=True)
            case 587 if not each.submission:
                wrong = "clients are to authenticate there, and this address is one for everybody, as port 25 is"
                meant = replace(each, submission=True)
            case _:
                continue
        yield f"listen has {each}: {wrong}; write {meant}"


def _next_hops(settings: Settings) -> Iterator[str]:
    hops = {"delivery.next_hop": settings.delivery.next_hop}
    hops |= {f"routes[{number}].next_hop": route.next_hop for number, route in enumerate(settings.routes, 1)}
    for key, hop in hops.items():
        for server in hop.servers if hop is not None else ():
            if (server.scheme, server.port) == ("smtp", 465):
                yield f"{key} has {server}: a server begins TLS there with the first octet, and does not greet; write {replace(server, scheme='smtps')}"
            elif server.scheme == "smtps" and server.port in {25, 587}:
                yield f"{key} has {server}: a server begins there in clear, and no TLS handshake succeeds; write {replace(server, scheme='smtp')}, which uses STARTTLS"
