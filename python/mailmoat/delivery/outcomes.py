"""What the states of recipients mean: for the log, for the metrics, and for reports. Tables, nothing else."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from mailmoat._native import RecipientState
from mailmoat.metrics import Family
from mailmoat.reports.kind import ReportKind


class AttemptOutcome(StrEnum):
    """What the log and the metrics call the outcome of an attempt for a recipient."""

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    FAILED = "failed"


OUTCOMES: Final = {
    RecipientState.PENDING: AttemptOutcome.DEFERRED,
    RecipientState.DELIVERED: AttemptOutcome.DELIVERED,
    RecipientState.RELAYED: AttemptOutcome.DELIVERED,
    RecipientState.PLACED: AttemptOutcome.DELIVERED,
    RecipientState.FAILED: AttemptOutcome.FAILED,
}
REPORT_OF: Final = {
    RecipientState.FAILED: ReportKind.FAILED,
    RecipientState.RELAYED: ReportKind.RELAYED,
    RecipientState.PLACED: ReportKind.DELIVERED,
    RecipientState.EXPANDED: ReportKind.EXPANDED,
}
"""The report that each state asks for."""
REPORTED: Final = {
    RecipientState.FAILED: RecipientState.CLOSED,
    RecipientState.RELAYED: RecipientState.DELIVERED,
    RecipientState.PLACED: RecipientState.DELIVERED,
    RecipientState.EXPANDED: RecipientState.CLOSED,
}
"""The state after it."""
DELIVERY_ATTEMPTS: Final = Family(
    "mailmoat_delivery_attempts_total", "Attempts to deliver to a recipient, by outcome.", {"outcome": AttemptOutcome}
)
