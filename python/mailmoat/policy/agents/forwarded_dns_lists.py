"""Stamp messages that a server of ours in front hands on, by what lists in the DNS say of the address in its Received field.

It only stamps, whatever `dns_lists.action` is: a refusal at the end of the data would make the server in front return the message to a
sender that is often forged. A server that names its client (PROXY protocol, XCLIENT) has it judged at RCPT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.dns_lists.lookups import Listings
from mailmoat.policy.agent import Agent
from mailmoat.policy.listed_clients import ListedClients
from mailmoat.policy.sources import Sources
from mailmoat.policy.verdict import PASS, Pass

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from mailmoat.policy.agent import SessionView
    from mailmoat.policy.client import ClientKind
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict
    from mailmoat.settings import Settings


class ForwardedDnsLists(Agent):
    """Stamps what is known of the client behind a server in front."""

    name = "forwarded_dns_lists"

    def __init__(self, services: Services) -> None:
        self._lists = ListedClients(services)
        self._trust = services.trust
        self._sources = Sources(services.settings, services.trust)

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether there is a list to ask and a server in front."""
        return bool(settings.dns_lists.providers and settings.senderid.internal_servers)

    def concerns(self, kind: ClientKind) -> bool:
        """Return whether it hands on what others sent."""
        return kind.trust.front_server

    def on_end_of_headers(self, view: SessionView) -> Verdict | Awaitable[Verdict]:
        """Return the stamps."""
        if not view.client.trust.front_server:
            return PASS
        source = self._sources.of_message(view.client, view.header).address
        if not source or not self._trust.of(source).judged:
            return PASS
        found = self._lists.look_up(source)
        return Pass(self._lists.stamps(found)) if isinstance(found, Listings) else self._wait(found)

    async def _wait(self, lookup: Awaitable[Listings]) -> Verdict:
        return Pass(self._lists.stamps(await lookup))
