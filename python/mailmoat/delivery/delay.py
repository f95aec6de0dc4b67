"""Of which recipients a delay is to be reported, once each (RFC 3461 5.2.5).

Pure. Without NOTIFY a delay is reported, as a failure is; nothing is reported to the null reverse-path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.reports.requests import wants_delay

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mailmoat._native import Message, Recipient


def reportable(
    message: Message, recipients: Sequence[Recipient], indexes: Iterable[int], delay_report: float
) -> frozenset[int]:
    """Return those of the recipients whose delay is reported when the message is `delay_report` seconds old; 0 is never."""
    if not delay_report or not message.reverse_path:
        return frozenset()
    return frozenset(index for index in indexes if not recipients[index].reported and wants_delay(recipients[index]))
