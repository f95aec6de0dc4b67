"""Refuse mail in clear from senders at the domains in `tls.required_domains` (RFC 3207 4, RFC 5248 for 5.7.10).

For a while only, where this side has refused TLS: else the sender returns the mail for what is no fault of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat._native import Condition
from mailmoat.policy.agent import Agent
from mailmoat.policy.verdict import PASS, Reject, Reply, Rule, Tempfail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat._native import Stage
    from mailmoat.policy.agent import SessionView
    from mailmoat.policy.client import ClientKind
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict
    from mailmoat.settings import Settings


class TlsRule(Rule):
    """Why a sender is refused."""

    TLS_REQUIRED = "tls-required"


class TlsRequired(Agent):
    """Judges the sender's domain where TLS is not on."""

    name = "tls_required"

    def __init__(self, services: Services) -> None:
        self._domains = frozenset(services.settings.tls.required_domains)

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether a domain requires TLS."""
        return bool(settings.tls.required_domains)

    def concerns(self, kind: ClientKind) -> bool:
        """Return whether it sends in clear."""
        return not kind.secured

    def passes_if(self, stage: Stage) -> Sequence[Condition]:  # noqa: ARG002 - it listens to one
        """Return that the sender's domain does not require TLS."""
        return (Condition.sender_elsewhere(sorted(self._domains)),)

    def on_mail(self, view: SessionView) -> Verdict:
        """Refuse with 550 5.7.10 in clear, with 451 4.7.0 a client that could not have TLS."""
        sender = view.reverse_path
        if view.client.tls is not None or sender is None or sender.domain not in self._domains:
            return PASS
        needed = f"Mail from {sender.domain} is accepted only with TLS"
        if view.client.tls_refused:
            return Tempfail(Reply.showing(451, "4.7.0", f"{needed}; try again later"), TlsRule.TLS_REQUIRED)
        return Reject(Reply.showing(550, "5.7.10", f"{needed}; use STARTTLS"), TlsRule.TLS_REQUIRED)
