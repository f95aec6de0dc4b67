"""Warnings about routes that are valid but unwise: one that can never get mail, one that may lead back to this server.

Pure: no name is looked up. What is certainly wrong is refused elsewhere (`supervisor/own_address.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.delivery.route import route_table
from mailmoat.delivery.tls_policy import TlsLevel
from mailmoat.settings.sections.routes import EVERY_DOMAIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailmoat.delivery.route import RouteTable
    from mailmoat.settings import Settings


def warnings(settings: Settings) -> list[str]:
    """Return one plain sentence for each route that an administrator probably did not intend."""
    table = route_table(settings)
    return [
        *_hidden(table),
        *_unused(table),
        *_nobody_may_send(settings, table),
        *_back_to_us(settings, table),
        *_mx_with_tls(table),
        *_account(table),
    ]


def _hidden(table: RouteTable) -> Iterator[str]:
    """Yield the domains of which an earlier route gets the mail."""
    for number, route in enumerate(table.routes):
        if not route.domains:
            yield f"routes[{number + 1}] has no domains: it never gets mail"
        for pattern in route.domains:
            first = table.number_of(pattern)
            if first is not None and first < number:
                yield f"routes[{number + 1}] never gets mail for {pattern}: routes[{first + 1}] has it before; put the narrower route first"


def _unused(table: RouteTable) -> Iterator[str]:
    """Yield that the default next hop never gets mail."""
    every = table.number_of(EVERY_DOMAIN)
    if every is not None and table.default.next_hop is not None:
        yield f"delivery.next_hop never gets mail: routes[{every + 1}] has every domain; remove one of the two"


def _nobody_may_send(settings: Settings, table: RouteTable) -> Iterator[str]:
    """Yield the domains to which nobody may send."""
    auth, relay = settings.auth, settings.relay
    if relay.networks or auth.file or auth.dovecot:
        return
    ours = (*relay.local_domains, *relay.unfiltered_domains)
    for number, route in enumerate(table.routes, 1):
        for pattern in route.domains:
            is_ours = pattern in ours or any(domain.endswith(pattern) for domain in ours if pattern.startswith("."))
            if pattern != EVERY_DOMAIN and not is_ours:
                yield (
                    f"routes[{number}] gets no mail for {pattern} but reports of ours and that of aliases: a route does not make a domain relayable; "
                    "add it to relay.local_domains or relay.unfiltered_domains"
                )


def _back_to_us(settings: Settings, table: RouteTable) -> Iterator[str]:
    """Yield our own domains that go by MX: their records name this server, as it gets their mail."""
    for domain in dict.fromkeys((*settings.relay.local_domains, *settings.relay.unfiltered_domains)):
        hop = table.find(domain).next_hop
        if hop is not None and hop.kind == "mx":
            yield (
                f"mail for {domain} goes by its MX records, which name this server if it receives that mail: "
                "give the domain a route to the server that has its mailboxes"
            )


def _mx_with_tls(table: RouteTable) -> Iterator[str]:
    """Yield the routes to any domain that ask for more TLS than most domains have; for named ones that is how partners agree."""
    for route in table.all:
        hop, level = route.next_hop, TlsLevel(route.settings.tls)
        is_for_any = not route.domains or EVERY_DOMAIN in route.domains
        if is_for_any and hop is not None and hop.kind == "mx" and level.required:
            yield f"the route {route.name} is mx and has tls = {level}: mail for the many domains whose servers have no such TLS waits and expires; write may"


def _account(table: RouteTable) -> Iterator[str]:
    for number, route in enumerate(table.routes, 1):
        if route.settings.auth_name is not None and route.settings.tls != "verify":
            yield (
                f"routes[{number}].auth_name is set and its tls is not verify: messages wait unless the next hop offers SCRAM-SHA-256, "
                "because a password is not sent to a server that was not verified"
            )
