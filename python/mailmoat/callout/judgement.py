"""What the reply to a callout means. Pure.

A next hop refuses recipients for many reasons, and only one of them is that the mailbox does not exist. A reply counts as that when its code and
its enhanced status code say so (RFC 5321 4.2.3, RFC 3463 3.2, 3.3). A refusal without an enhanced status code is what servers such as
Exim give; it counts when the same next hop takes another address of the domain after it, so that it is no refusal of us, or of the domain.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mailmoat._native import RecipientState

if TYPE_CHECKING:
    from mailmoat._native import Outcome

_REPLY: Final = re.compile(r"(\d{3})(?:[ -](\d\.\d{1,3}\.\d{1,3}))?\b")
_REFUSALS: Final = frozenset({"550", "551", "553"})
_NOBODY: Final = frozenset({"5.1.1", "5.1.3", "5.1.6", "5.1.10", "5.2.1"})
"""Bad mailbox, bad syntax of one, moved, a null MX (Exchange: not found); mailbox disabled."""
_SOMEBODY: Final = frozenset({None, "5.0.0", "5.1.0"})
"""Statuses that do not say whose address is refused: ours as the client, the sender's or the recipient's."""
_LOST_AT_RCPT: Final = "Connection lost waiting for the reply to RCPT"
"""What the client machine says in place of a reply."""
_NO_SMTPUTF8: Final = "550 5.6.7 The next hop does not offer SMTPUTF8"
"""The same in place of a transaction."""
_TOO_MANY: Final = "552"
"""Once the code for too many recipients (RFC 5321 4.5.3.1.10), today that of a full mailbox: for now, in both cases."""


class Judgement(StrEnum):
    """What is known of a recipient after a callout."""

    EXISTS = "exists"
    ABSENT = "absent"
    UNPROVEN = "unproven"
    """Refused for good, without a word on why: absent if the next hop takes mail for the domain."""
    UNSURE = "unsure"
    """The next hop cannot say it now, or refuses for another reason."""
    BROKEN_OFF = "broken-off"
    """The next hop took MAIL and ended the connection at RCPT, maybe because of this recipient."""
    OUTAGE = "outage"
    """The next hop was not asked for the recipient: it is away, or refuses connections or the null sender."""


def judge(outcome: Outcome, *, reached: bool) -> Judgement:
    """Return what an outcome means; `reached`: there was a connection on which RCPT was sent."""
    found = _REPLY.match(outcome.reply)
    code, status = (found[1], found[2]) if found else ("", None)
    if not reached or code == "421":
        return Judgement.BROKEN_OFF if reached and outcome.reply.endswith(_LOST_AT_RCPT) else Judgement.OUTAGE
    if outcome.state is RecipientState.DELIVERED:
        return Judgement.EXISTS
    if outcome.state is RecipientState.FAILED:
        return refusal(code, status)
    # 5yz is what was said to MAIL; 4.5.0 is a broken protocol.
    is_sender = code.startswith("5") and code != _TOO_MANY
    return Judgement.OUTAGE if is_sender or status == "4.5.0" else Judgement.UNSURE


def refusal(code: str, status: str | None) -> Judgement:
    """Return what a 5yz reply to RCPT means."""
    if code not in _REFUSALS:
        return Judgement.UNSURE
    if status in _SOMEBODY:
        return Judgement.UNPROVEN
    return Judgement.ABSENT if status in _NOBODY else Judgement.UNSURE


def needs_smtputf8(reply: str) -> bool:
    """Return whether a server was not asked because it does not take addresses beyond ASCII."""
    return reply.startswith(_NO_SMTPUTF8)


def is_unknown_recipient(reply: str) -> bool:
    """Return whether a delivery that failed with this reply failed because the recipient does not exist."""
    found = _REPLY.match(reply)
    return found is not None and refusal(found[1], found[2]) is Judgement.ABSENT
