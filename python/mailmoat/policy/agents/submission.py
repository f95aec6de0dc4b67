"""What new mail has to be (RFC 6409): at a listener for submission, every domain in the envelope is fully qualified (4.2).

A domain with a dot, an address literal, and the domains that we take mail for are; `a@localhost` and `a@mail` are not, and nobody could reply
to them. Other listeners are not judged: a server that hands on mail has no better address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.policy.agent import Agent
from mailmoat.policy.verdict import PASS, Reject, Reply, Rule

if TYPE_CHECKING:
    from mailmoat._native import Address
    from mailmoat.policy.agent import RcptView, SessionView
    from mailmoat.policy.client import ClientKind
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict
    from mailmoat.settings import Settings


class SubmissionRule(Rule):
    """Why an envelope is refused."""

    UNQUALIFIED = "unqualified-domain"


class Submission(Agent):
    """Judges the envelopes of new mail."""

    name = "submission"

    def __init__(self, services: Services) -> None:
        relay = services.settings.relay
        self._domains = frozenset(relay.local_domains) | frozenset(relay.unfiltered_domains)

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether there is a listener for submission."""
        return any(listener.submission for listener in settings.listen)

    def concerns(self, kind: ClientKind) -> bool:
        """Return whether it submits new mail."""
        return kind.submission

    def on_mail(self, view: SessionView) -> Verdict:
        """Refuse a reverse-path without a full domain with 554 5.1.8."""
        return self._judge(view, view.reverse_path, "5.1.8")

    def on_rcpt(self, view: RcptView) -> Verdict:
        """Refuse a recipient without a full domain with 554 5.1.2."""
        return self._judge(view, view.recipient, "5.1.2")

    def _judge(self, view: SessionView, address: Address | None, enhanced: str) -> Verdict:
        if address is None or not view.client.listener.submission or self._is_qualified(address.domain):
            return PASS
        reply = Reply.showing(554, enhanced, f"{address}: the domain is not fully qualified")
        return Reject(reply, SubmissionRule.UNQUALIFIED)

    def _is_qualified(self, domain: str) -> bool:
        return "." in domain.strip(".") or domain.startswith("[") or domain in self._domains
