"""Limit what a source sends in a time: messages and octets at MAIL, recipients at RCPT.

A rate is spent by what a client asks for, whether it is then accepted or not; recipients that do not exist and octets are counted where
they are found out (recipient_filter.py, receive/receiver.py), and refused here from then on. A client that is refused is told what it did too often
and how long to wait; 421 ends the session, so that it is told once (RFC 5321 3.8, 4.2.1). 452 leaves the recipients before it accepted
(RFC 5321 4.5.3.1.10). Clients that no filter judges (`Trust.judged`) are not limited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat._native import Condition
from mailmoat.limits.limiter import LimitClass, words
from mailmoat.policy.agent import Agent
from mailmoat.policy.verdict import PASS, Reply, Rule, Tempfail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat._native import Stage
    from mailmoat.policy.agent import RcptView, SessionView
    from mailmoat.policy.client import ClientKind
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict
    from mailmoat.settings import Settings


class RateRule(Rule):
    """Why a command is refused."""

    MESSAGES = "message-rate"
    BYTES = "byte-rate"
    RECIPIENTS = "recipient-rate"
    UNKNOWN_RECIPIENTS = "unknown-recipient-rate"
    NULL_SENDERS = "null-sender-rate"


REFUSALS: Final = {
    LimitClass.MESSAGES: (
        421, "4.4.2", "Message submission rate for this client has exceeded the configured limit", RateRule.MESSAGES,
    ),
    LimitClass.BYTES: (421, "4.7.0", "Too many octets from your address", RateRule.BYTES),
    LimitClass.UNKNOWN_RECIPIENTS: (
        421, "4.7.0", "Too many unknown recipients from your address", RateRule.UNKNOWN_RECIPIENTS,
    ),
    LimitClass.NULL_SENDERS: (450, "4.7.0", "Too many bounces from your address", RateRule.NULL_SENDERS),
    LimitClass.RECIPIENTS: (452, "4.5.3", "Too many recipients from your address", RateRule.RECIPIENTS),
}  # fmt: skip


class MessageRate(Agent):
    """Limits messages, and octets."""

    name = "message_rate"

    def __init__(self, services: Services) -> None:
        self._rates = services.rates
        self._waits = self._rates.classes(LimitClass.BYTES)
        self._spends = self._rates.classes(LimitClass.MESSAGES)

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether there is a rate for one of them."""
        return settings.limits.message_rate is not None or settings.limits.byte_rate is not None

    def concerns(self, kind: ClientKind) -> bool:
        """Return whether it is limited."""
        return kind.trust.judged

    def passes_if(self, stage: Stage) -> Sequence[Condition]:  # noqa: ARG002 - it listens to one
        """Return that it is within its rates, which are spent with that."""
        return (Condition.within_rates(self._waits, self._spends),)

    def on_mail(self, view: SessionView) -> Verdict:
        """Refuse with 421, and close."""
        client = view.client
        refused = self._rates.take(self._waits, self._spends, client.address) if client.trust.judged else None
        return PASS if refused is None else _refusal(*refused)


class RecipientRate(Agent):
    """Limits recipients, those that do not exist, and those of messages with the null reverse-path."""

    name = "recipient_rate"

    def __init__(self, services: Services) -> None:
        self._rates = services.rates
        self._waits = self._rates.classes(LimitClass.UNKNOWN_RECIPIENTS)
        self._spends = self._rates.classes(LimitClass.RECIPIENTS)
        self._spends_of_null = self._rates.classes(LimitClass.RECIPIENTS, LimitClass.NULL_SENDERS)

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether there is a rate for one of them."""
        limits = settings.limits
        rates = (limits.recipient_rate, limits.unknown_recipient_rate, limits.null_sender_rate)
        return any(rate is not None for rate in rates)

    def concerns(self, kind: ClientKind) -> bool:
        """Return whether it is limited."""
        return kind.trust.judged

    def passes_if(self, stage: Stage) -> Sequence[Condition]:  # noqa: ARG002 - it listens to one
        """Return that it is within its rates, which are spent with that."""
        return (Condition.within_rates(self._waits, self._spends, of_null_sender=self._spends_of_null),)

    def on_rcpt(self, view: RcptView) -> Verdict:
        """Refuse with 452, 450, or 421 and close: who has guessed too often learns of no further recipient."""
        client = view.client
        if not client.trust.judged:
            return PASS
        is_null = self._spends_of_null != self._spends and view.reverse_path is None
        spends = self._spends_of_null if is_null else self._spends
        refused = self._rates.take(self._waits, spends, client.address)
        return PASS if refused is None else _refusal(*refused)


def _refusal(kind: LimitClass, wait: float) -> Tempfail:
    code, enhanced, text, rule = REFUSALS[kind]
    return Tempfail(Reply(code, enhanced, f"{text}; try again in {words(wait)}"), rule)
