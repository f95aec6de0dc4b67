"""Refuse blocked clients when they connect (RFC 5321 3.1), where `lists.refuse_at` says so.

The log does not say then for whom their messages were, and they reach nobody, not even postmaster. A submission port is left out:
its clients authenticate, wherever they are.
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
    from mailmoat.policy.agent import SessionView
    from mailmoat.policy.client import ClientKind
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict
    from mailmoat.settings import Settings


class ConnectionGate(Agent):
    """Judges a client before it says anything."""

    name = "connection_gate"

    def __init__(self, services: Services) -> None:
        self._blocked = BlockedClients(services)

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether clients are refused when they connect."""
        return settings.lists.refuse_at == "connect"

    def concerns(self, kind: ClientKind) -> bool:
        """Return whether it is judged here."""
        return kind.trust.judged and not kind.submission

    def passes_if(self, stage: Stage) -> Sequence[Condition]:  # noqa: ARG002 - it listens to one
        """Return that it is on no list."""
        return (Condition.unlisted(),)

    def on_connect(self, view: SessionView) -> Verdict:
        """Refuse with 554."""
        client = view.client
        if client.listener.submission or not client.trust.judged:
            return PASS
        return self._blocked.refusal(view, client.address, 554) or PASS
