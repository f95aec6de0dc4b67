"""What the log says of a session: a line for each accepted message and each refusal at once, and one when the connection is gone.

That one says, beyond what the session machine counts itself, envelopes and the rules that decided. Bounded at 8 KiB: of the transactions the first and the last are kept, of each the first and the last recipients, and the
others are counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat import maillog
from mailmoat.metrics import (
    MESSAGES_ACCEPTED,
    OCTETS_ACCEPTED,
    RECIPIENTS_REFUSED,
    REPLIES,
    TARPIT_SESSION_LIMIT,
)
from mailmoat.policy.verdict import Reject, Tempfail

if TYPE_CHECKING:
    from mailmoat._native import Address, Message, Session
    from mailmoat.metrics import Metrics
    from mailmoat.policy.verdict import Conclusion
    from mailmoat.receive.view import View

QUIT_CODE: Final = 221
RULES: Final = 10
"""Rules a session's line names."""
RECIPIENTS: Final = 2
"""Recipients kept of one transaction, first ones and as many last ones."""
CHARACTERS: Final = 192
"""Kept of an address; the lines of messages and refusals have it whole."""


class SessionLog:
    """The log of one session: the line of each refusal and each message at once, and what its own line will say."""

    __slots__ = ("_judged", "_left_out", "_mail_from", "_number", "_octets", "_rules", "_transactions", "_uncounted")

    def __init__(self) -> None:
        # Tuples: most sessions are held with one refused recipient, and an empty list costs each of them 56 octets.
        self._transactions: tuple[maillog.Transaction, ...] = ()
        self._left_out = 0
        self._judged: tuple[tuple[str, int], ...] = ()
        self._uncounted = 0
        self._mail_from = ""
        self._number = 0
        self._rules: tuple[str, ...] = ()
        self._octets = 0

    def decided(self, rule: str) -> None:
        """A rule refused something."""
        if rule not in self._rules and len(self._rules) < RULES:
            self._rules = (*self._rules, rule)

    def judged(self, session: Session, recipient: Address, conclusion: Conclusion, metrics: Metrics) -> None:
        """Policy has concluded about a recipient of the running transaction."""
        code = 250
        if isinstance(conclusion, (Reject, Tempfail)):
            code = conclusion.reply.code
            metric = RECIPIENTS_REFUSED.get(conclusion.rule)
            if metric is not None:
                metrics.add(metric)
        if session.transactions != self._number:
            self._end("", 0)
            self._number = session.transactions
        kept = self._judged
        if not kept:
            self._mail_from = str(session.reverse_path or "")[:CHARACTERS]
        elif len(kept) == 2 * RECIPIENTS:
            kept = kept[:RECIPIENTS] + kept[RECIPIENTS + 1 :]
            self._uncounted += 1
        self._judged = (*kept, (str(recipient)[:CHARACTERS], code))

    def refused(self, session: Session, view: View, rule: str = "", detail: str = "") -> None:
        """Write a line for each refusal since the last call; `rule` decided the first of them."""
        if not session.has_refused:
            return
        for refusal in session.take_refused():
            maillog.refused(
                session=view.session_id,
                client=view.client.address,
                helo=session.helo_name,
                mail_from=refusal.mail_from,
                recipient=refusal.recipient,
                command=refusal.command,
                reply=refusal.reply,
                rule=rule,
                detail=detail,
            )
            rule = detail = ""

    def accepted(self, session: Session, message: Message, metrics: Metrics) -> None:
        """The transaction's message is on disk: write its line, and count it."""
        self._octets += message.size
        self._end(message.queue_id, message.size)
        maillog.message_accepted(
            session=message.session_id,
            client=message.client,
            helo=session.helo_name,
            mail_from=message.reverse_path,
            recipients=[recipient.address for recipient in message.recipients],
            queue_id=message.queue_id,
            octets=message.size,
        )
        metrics.add(MESSAGES_ACCEPTED)
        metrics.add(OCTETS_ACCEPTED, message.size)

    def redirected(self, view: View, to: Address) -> None:
        """Another address gets the message of a recipient."""
        recipient = str(view.recipient)
        maillog.event("recipient-redirected", session=view.session_id, recipient=recipient, to=str(to))

    def not_stored(self, view: View, reason: str) -> None:
        """The transaction's message could not be put on disk."""
        maillog.event("message-not-stored", level="error", session=view.session_id, reason=reason)

    def failed(self, view: View, error: Exception) -> None:
        """Something of ours raised: the session ends."""
        about = {"session": view.session_id, "client": view.client.address}
        maillog.event("session-failed", level="error", **about, error=maillog.describe(error))

    def write(self, session: Session, view: View, duration: float, metrics: Metrics) -> None:
        """Write the session's line, and count its replies; `duration` in seconds."""
        self._end("", 0)
        replies = session.replies
        for digit, metric in REPLIES:
            if replies[digit]:
                metrics.add(metric, replies[digit])
        if session.delays_spent:
            metrics.add(TARPIT_SESSION_LIMIT)
        end = session.end
        maillog.session_ended(
            session=view.session_id,
            client=view.client.address,
            reason="disconnected" if end is None else "" if end.code == QUIT_CODE else end.text,
            duration=duration,
            helo=session.helo_name,
            transactions=self._transactions,
            transactions_left_out=self._left_out,
            replies=replies,
            refusals=session.refusals,
            refusals_left_out=session.refusals_left_out,
            rules=self._rules,
            commands=session.commands,
            messages=session.messages,
            holds=session.holds,
            held=session.held / 1000,
            octets=self._octets,
        )

    def _end(self, queue_id: str, octets: int) -> None:
        if not self._judged:
            return
        kept = self._transactions
        if len(kept) > 1:
            kept = kept[:1]
            self._left_out += 1
        ended = maillog.Transaction(self._mail_from, self._judged, queue_id, octets, self._uncounted)
        self._transactions = (*kept, ended)
        self._judged = ()
        self._uncounted = 0
