"""Warnings about delivery by MX records: what is valid, and not protected, or not as it seems."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.net import address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailmoat.settings.tree import Settings


def uses_mx(settings: Settings) -> bool:
    """Return whether mail for some domains goes to the servers in their MX records."""
    hops = [settings.delivery.next_hop, *(route.next_hop for route in settings.routes)]
    return any(hop is not None and hop.kind == "mx" for hop in hops)


def mx_warnings(settings: Settings) -> Iterator[str]:
    """Return one plain sentence for each setting that an administrator probably did not intend."""
    if not uses_mx(settings):
        return
    if settings.mx.dane and not settings.dns.trust_ad:
        yield (
            "DANE is not used: dns.trust_ad is off. Run a resolver that validates DNSSEC on this host, such as Unbound, name it in "
            "dns.servers and set dns.trust_ad; or set mx.dane to false"
        )
    if settings.dns.trust_ad:
        for server in settings.dns.servers:
            if not address.without_zone(server.host).is_loopback:
                yield (
                    f"dns.trust_ad is on, and dns.servers has {server.host}, which is not this host: who can change packets on the way "
                    "can switch DANE off. Use a validating resolver on this host unless the way is protected"
                )
