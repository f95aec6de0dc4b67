"""Refuse to relay: a recipient's domain is ours, or the client is one we relay for (RFC 5321 3.6.2, 7.9; KB 304897).

The sender's address never matters. `%`, `!`, quotes, source routes and encapsulated addresses mean nothing here: the address
is judged by the domain it has after normalisation, the same normalisation that the configured domains went through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.net.address import Networks
from mailmoat.policy.agent import PASS, Agent, Reject, Reply

if TYPE_CHECKING:
    from mailmoat._native import Address
    from mailmoat.policy.agent import SessionView, Verdict
    from mailmoat.settings import Settings


class Relay(Agent):
    """Judges each recipient."""

    name = "relay"

    def __init__(self, settings: Settings) -> None:
        self._domains = frozenset(settings.relay.local_domains) | frozenset(settings.relay.unfiltered_domains)
        self._networks = Networks(settings.relay.networks)

    def on_rcpt(self, session: SessionView, recipient: Address) -> Verdict:
        """550 5.7.1 unless the domain is ours or the client's network may relay."""
        if recipient.domain in self._domains or session.peer in self._networks:
            return PASS
        return Reject(Reply(550, "5.7.1", f"Unable to relay for {recipient}"), "relay")
