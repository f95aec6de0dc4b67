"""Values of an attempt: the recipients that a limit of the next hop leaves to further transactions."""

from __future__ import annotations

import sys

from mailmoat._native import Outcome, RecipientState
from mailmoat.delivery.attempt import AttemptRecord, rest_of


class Whole:
    """An attempt that notes its outcomes."""

    message = None

    def __init__(self, recipients: int) -> None:
        self.indexes = list(range(recipients))
        self.ends: list[list[int]] = []

    def finished(self, outcomes, _record) -> None:
        self.ends.append([outcome.index for outcome in outcomes])


def test_one_recipient_a_transaction_ends_an_attempt_of_any_size():
    whole = Whole(2 * sys.getrecursionlimit())
    record = AttemptRecord(next_hop="smtp://h:25", peer="192.0.2.1:25", reused=False, seconds=0.0)
    attempt = whole
    while len(attempt.indexes) > 1:
        attempt = rest_of(attempt, [Outcome(attempt.indexes[0], RecipientState.DELIVERED, "250 ok")], record)
    attempt.finished([Outcome(attempt.indexes[0], RecipientState.DELIVERED, "250 ok")], record)
    assert whole.ends == [whole.indexes]
