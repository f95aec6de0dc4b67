"""Refuse messages of blocked clients that a server of ours in front hands on, by the address in its Received field.

The client is known at the end of the header section only, and the server in front is never judged itself. Recipients that blocked
clients reach get their message: the others are taken out of the transaction, each of them logged, because a reply to the end of data
is one for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat import maillog
from mailmoat.policy.agent import Agent
from mailmoat.policy.blocked_clients import BlockedClients
from mailmoat.policy.sources import Sources
from mailmoat.policy.verdict import PASS, Pass

if TYPE_CHECKING:
    from mailmoat.policy.agent import SessionView
    from mailmoat.policy.client import ClientKind
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict
    from mailmoat.settings import Settings


class ForwardedClients(Agent):
    """Judges the client behind a server in front."""

    name = "forwarded_clients"

    def __init__(self, services: Services) -> None:
        self._blocked = BlockedClients(services)
        self._sources = Sources(services.settings, services.trust)

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether there is a server in front."""
        return bool(settings.senderid.internal_servers)

    def concerns(self, kind: ClientKind) -> bool:
        """Return whether it hands on what others sent."""
        return kind.trust.front_server

    def on_end_of_headers(self, view: SessionView) -> Verdict:
        """Refuse with 550 5.7.1."""
        if not view.client.trust.front_server:
            return PASS
        source = self._sources.of_message(view.client, view.header).address
        refusal = self._blocked.refusal(view, source, 550) if source else None
        if refusal is None:
            return PASS
        stopped = tuple(one for one in view.recipients if one not in self._blocked.open_recipients)
        if len(stopped) == len(view.recipients):
            return refusal
        if stopped:
            maillog.message_dropped(
                session=view.session_id,
                mail_from=str(view.reverse_path or ""),
                recipients=[str(recipient) for recipient in stopped],
                reason=refusal.rule,
                detail=refusal.detail,
            )
        return Pass(dropped=stopped)
