"""Refuse to relay: a recipient's domain is ours, or the client is one we relay for (RFC 5321 3.6.2, 7.9; KB 304897).

The sender's address never matters. `%`, `!`, quotes, source routes and encapsulated addresses mean nothing here: the address
is judged by the domain it has after normalisation, the same normalisation that the configured domains went through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.policy.agent import Agent
from mailmoat.policy.verdict import PASS, Reject, Reply, Rule

if TYPE_CHECKING:
    from mailmoat.policy.agent import RcptView
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict


class RelayRule(Rule):
    """Why a recipient is refused."""

    ELSEWHERE = "relay-denied"


class Relay(Agent):
    """Judges each recipient."""

    name = "relay"

    def __init__(self, services: Services) -> None:
        relay = services.settings.relay
        self._domains = frozenset(relay.local_domains) | frozenset(relay.unfiltered_domains)

    def on_rcpt(self, view: RcptView) -> Verdict:
        """Refuse with 550 5.7.1 unless the domain is ours or the client may relay."""
        recipient = view.recipient
        if recipient.domain in self._domains or view.client.trust.may_relay:
            return PASS
        return Reject(Reply.showing(550, "5.7.1", f"Unable to relay for {recipient}"), RelayRule.ELSEWHERE)
