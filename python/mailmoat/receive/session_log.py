"""What a session's line in the log says beyond what the session machine counts itself: envelopes, and the rules that decided.

One per connection, written once, when the connection is gone; each accepted message and each refusal has had a line of its own by
then. Bounded at 8 KiB: of the transactions the first and the last are kept, of each the first and the last recipients, and the
others are counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat import maillog

if TYPE_CHECKING:
    from mailmoat._native import Address, Session

QUIT_CODE: Final = 221
RULES: Final = 10
"""Rules a session's line names."""
RECIPIENTS: Final = 2
"""Recipients kept of one transaction, first ones and as many last ones."""
CHARACTERS: Final = 192
"""Kept of an address; the lines of messages and refusals have it whole."""


class SessionRecord:
    """The record of one session."""

    __slots__ = ("_judged", "_left_out", "_mail_from", "_number", "_octets", "_rules", "_transactions", "_uncounted")

    def __init__(self) -> None:
        self._transactions: list[maillog.Transaction] = []
        self._left_out = 0
        self._judged: list[tuple[str, int]] = []
        self._uncounted = 0
        self._mail_from = ""
        self._number = 0
        self._rules: list[str] = []
        self._octets = 0

    def decided(self, rule: str) -> None:
        """A rule refused something."""
        if rule not in self._rules and len(self._rules) < RULES:
            self._rules.append(rule)

    def judged(self, session: Session, recipient: Address, code: int) -> None:
        """A recipient of the running transaction got a reply with this code."""
        if session.transactions != self._number:
            self._end("", 0)
            self._number = session.transactions
        if not self._judged:
            self._mail_from = str(session.reverse_path or "")[:CHARACTERS]
        elif len(self._judged) == 2 * RECIPIENTS:
            del self._judged[RECIPIENTS]
            self._uncounted += 1
        self._judged.append((str(recipient)[:CHARACTERS], code))

    def accepted(self, queue_id: str, octets: int) -> None:
        """The transaction's message is on disk."""
        self._octets += octets
        self._end(queue_id, octets)

    def write(self, session: Session, *, session_id: str, client: str, duration: float) -> None:
        """Write the line; `duration` in seconds."""
        self._end("", 0)
        end = session.end
        maillog.session_ended(
            session=session_id,
            client=client,
            reason="disconnected" if end is None else "" if end.code == QUIT_CODE else end.text,
            duration=duration,
            helo=session.helo_name,
            transactions=self._transactions,
            transactions_left_out=self._left_out,
            replies=session.replies,
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
        if len(self._transactions) > 1:
            self._transactions.pop()
            self._left_out += 1
        self._transactions.append(maillog.Transaction(self._mail_from, self._judged, queue_id, octets, self._uncounted))
        self._judged = []
        self._uncounted = 0
