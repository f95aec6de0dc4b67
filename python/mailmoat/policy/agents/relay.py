"""Refuse to relay: a recipient's domain is ours, or the client is one we relay for (RFC 5321 3.6.2, 7.9; KB 304897).

A client that may not authenticate now, because its address has failed too often, may try later: with AUTH it might relay.
The sender's address never matters. `%`, `!`, quotes, source routes and encapsulated addresses mean nothing here: the address
is judged by the domain it has after normalisation, the same normalisation that the configured domains went through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat._native import Condition
from mailmoat.policy.agent import Agent
from mailmoat.policy.verdict import PASS, Reject, Reply, Rule, Tempfail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat._native import Stage
    from mailmoat.policy.agent import RcptView
    from mailmoat.policy.client import ClientKind
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict


SUSPENDED: Final = Reply(451, "4.7.0", "Too many failed authentications from your address; try again later")


class RelayRule(Rule):
    """Why a recipient is refused."""

    ELSEWHERE = "relay-denied"
    SUSPENDED = "auth-suspended"


class Relay(Agent):
    """Judges each recipient."""

    name = "relay"

    def __init__(self, services: Services) -> None:
        relay = services.settings.relay
        self._has_accounts = services.settings.auth.file is not None or services.settings.auth.dovecot is not None
        self._has_guessed = services.has_guessed
        self._domains = frozenset(relay.local_domains) | frozenset(relay.unfiltered_domains)

    def concerns(self, kind: ClientKind) -> bool:
        """Return whether it may not relay."""
        return not kind.trust.may_relay

    def passes_if(self, stage: Stage) -> Sequence[Condition]:  # noqa: ARG002 - it listens to one
        """Return that the recipient is at a domain of ours."""
        return (Condition.recipient_at(sorted(self._domains)),)

    def on_rcpt(self, view: RcptView) -> Verdict:
        """Refuse with 550 5.7.1, or for now with 451 4.7.0, unless the domain is ours or the client may relay."""
        recipient = view.recipient
        if recipient.domain in self._domains or view.client.trust.may_relay:
            return PASS
        if self._has_accounts and not view.client.trust.exempt and self._has_guessed(view.client.address):
            return Tempfail(SUSPENDED, RelayRule.SUSPENDED)
        return Reject(Reply.showing(550, "5.7.1", f"Unable to relay for {recipient}"), RelayRule.ELSEWHERE)
