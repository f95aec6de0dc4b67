"""What a session's line in the log says beyond what the session machine counts itself: envelopes, and the rules that decided.

One per connection, written once, when the connection is gone. Bounded: `maillog.MAX_VALUES` of each list are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat import maillog

if TYPE_CHECKING:
    from mailmoat._native import Address, Session

QUIT_CODE: Final = 221


class SessionRecord:
    """The record of one session."""

    __slots__ = ("_judged", "_mail_from", "_number", "_rules", "_transactions")

    def __init__(self) -> None:
        self._transactions: list[maillog.Transaction] = []
        self._judged: list[tuple[str, int]] = []
        self._mail_from = ""
        self._number = 0
        self._rules: list[str] = []

    def decided(self, rule: str) -> None:
        """A rule refused something."""
        if rule not in self._rules and len(self._rules) < maillog.MAX_VALUES:
            self._rules.append(rule)

    def judged(self, session: Session, recipient: Address, code: int) -> None:
        """A recipient of the running transaction got a reply with this code."""
        if session.transactions != self._number:
            self._end("", 0)
            self._number = session.transactions
        if len(self._judged) < maillog.MAX_VALUES:
            self._judged.append((str(recipient), code))
            self._mail_from = str(session.reverse_path or "")

    def accepted(self, queue_id: str, octets: int) -> None:
        """The transaction's message was handed to the spool."""
        self._end(queue_id, octets)

    def write(self, session: Session, *, session_id: str, client: str, duration: float) -> None:
        """Write the line; `duration` in seconds."""
        self._end("", 0)
        end = session.end
        maillog.session_ended(
            session=session_id,
            client=client,
            reason="disconnected" if end is None else "" if end[0] == QUIT_CODE else end[1],
            duration=duration,
            helo=session.hello,
            transactions=self._transactions,
            replies=session.replies,
            refusals=session.refusals,
            rules=self._rules,
            commands=session.commands,
            messages=session.messages,
            holds=session.holds,
            held=session.held / 1000,
            octets=sum(transaction.octets for transaction in self._transactions),
        )

    def _end(self, queue_id: str, octets: int) -> None:
        if self._judged and len(self._transactions) < maillog.MAX_VALUES:
            self._transactions.append(maillog.Transaction(self._mail_from, self._judged, queue_id, octets))
        self._judged = []
