"""What a report is about: one kind of outcome for all recipients that it names."""

from enum import StrEnum
from typing import Final

from mailmoat.metrics import Family


class ReportKind(StrEnum):
    """The value is that of the field `Action` (RFC 3464 2.3.3)."""

    FAILED = "failed"
    """It failed for good."""
    DELAYED = "delayed"
    """It is not delivered yet; attempts go on."""
    DELIVERED = "delivered"
    """It is in its mailbox."""
    RELAYED = "relayed"
    """A server has it that reports no success."""
    EXPANDED = "expanded"
    """Several other addresses took its place."""


BOUNCES: Final = Family("mailmoat_bounces_total", "Reports to senders made, by kind.", {"kind": ReportKind})
