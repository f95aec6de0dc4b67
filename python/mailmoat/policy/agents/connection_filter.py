"""Refuse the recipients of blocked clients (RFC 5321 4.2.2, 7.8; RFC 3463 3.8), so that the log says for whom a message was.

First of the filters: what is refused here is asked of no directory, so a blocked client learns nothing about our addresses. Its replies
are held as the tarpit says. `postmaster` and `lists.open_recipients` stay reachable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat._native import Condition
from mailmoat.policy.agent import Agent
from mailmoat.policy.blocked_clients import BlockedClients
from mailmoat.policy.verdict import PASS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat._native import Stage
    from mailmoat.policy.agent import RcptView
    from mailmoat.policy.client import ClientKind
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict


class ConnectionFilter(Agent):
    """Judges a client at each recipient: an entry that is added or ends during a session counts from then on."""

    name = "connection_filter"

    def __init__(self, services: Services) -> None:
        self._blocked = BlockedClients(services)

    def concerns(self, kind: ClientKind) -> bool:
        """Return whether it is judged."""
        return kind.trust.judged

    def passes_if(self, stage: Stage) -> Sequence[Condition]:  # noqa: ARG002 - it listens to one
        """Return that it is on no list."""
        return (Condition.unlisted(),)

    def on_rcpt(self, view: RcptView) -> Verdict:
        """Refuse with 550 5.7.1."""
        client = view.client
        if not client.trust.judged:
            return PASS
        refusal = self._blocked.refusal(view, client.address, 550)
        return PASS if refusal is None or view.recipient in self._blocked.open_recipients else refusal
