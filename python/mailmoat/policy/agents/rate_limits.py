"""Limit what a source sends in a time: messages and octets at MAIL, recipients at RCPT.

A rate is spent by what a client asks for, whether it is then accepted or not; recipients that do not exist and octets are counted where
they are found out (recipient_filter.py, receive/receiver.py), and refused here from then on. A client that is refused is told what it did too often
and how long to wait; 421 ends the session, so that it is told once (RFC 5321 3.8, 4.2.1). 452 leaves the recipients before it accepted
(RFC 5321 4.5.3.1.10). Clients that no filter judges (`Trust.judged`) are not limited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.limits.limiter import LimitClass, words
from mailmoat.policy.agent import Agent
from mailmoat.policy.verdict import PASS, Reply, Rule, Tempfail

if TYPE_CHECKING:
    from mailmoat.policy.agent import RcptView, SessionView
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


class MessageRate(Agent):
    """Limits messages, and octets."""

    name = "message_rate"

    def __init__(self, services: Services) -> None:
        self._rates = services.rates
        self._counts = self._rates.limits(LimitClass.MESSAGES)
        self._weighs = self._rates.limits(LimitClass.BYTES)

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether there is a rate for one of them."""
        return settings.limits.message_rate is not None or settings.limits.byte_rate is not None

    def on_mail(self, view: SessionView) -> Verdict:
        """Refuse with 421, and close."""
        client = view.client
        if not client.trust.judged:
            return PASS
        if self._weighs and (wait := self._rates.wait(LimitClass.BYTES, client.address)):
            return _refuse(421, "4.7.0", "Too many octets from your address", RateRule.BYTES, wait)
        if self._counts and (wait := self._rates.spend(LimitClass.MESSAGES, client.address)):
            text = "Message submission rate for this client has exceeded the configured limit"
            return _refuse(421, "4.4.2", text, RateRule.MESSAGES, wait)
        return PASS


class RecipientRate(Agent):
    """Limits recipients, those that do not exist, and those of messages with the null reverse-path."""

    name = "recipient_rate"

    def __init__(self, services: Services) -> None:
        self._rates = services.rates
        self._counts = self._rates.limits(LimitClass.RECIPIENTS)
        self._unknown = self._rates.limits(LimitClass.UNKNOWN_RECIPIENTS)
        self._null_senders = self._rates.limits(LimitClass.NULL_SENDERS)

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether there is a rate for one of them."""
        limits = settings.limits
        rates = (limits.recipient_rate, limits.unknown_recipient_rate, limits.null_sender_rate)
        return any(rate is not None for rate in rates)

    def on_rcpt(self, view: RcptView) -> Verdict:
        """Refuse with 452, 450, or 421 and close: who has guessed too often learns of no further recipient."""
        client, rates = view.client, self._rates
        if not client.trust.judged:
            return PASS
        if self._unknown and (wait := rates.wait(LimitClass.UNKNOWN_RECIPIENTS, client.address)):
            text = "Too many unknown recipients from your address"
            return _refuse(421, "4.7.0", text, RateRule.UNKNOWN_RECIPIENTS, wait)
        is_null = self._null_senders and view.reverse_path is None
        if is_null and (wait := rates.spend(LimitClass.NULL_SENDERS, client.address)):
            return _refuse(450, "4.7.0", "Too many bounces from your address", RateRule.NULL_SENDERS, wait)
        if self._counts and (wait := rates.spend(LimitClass.RECIPIENTS, client.address)):
            return _refuse(452, "4.5.3", "Too many recipients from your address", RateRule.RECIPIENTS, wait)
        return PASS


def _refuse(code: int, enhanced: str, text: str, rule: RateRule, wait: float) -> Tempfail:
    return Tempfail(Reply(code, enhanced, f"{text}; try again in {words(wait)}"), rule)
