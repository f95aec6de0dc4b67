"""The metrics of Sender ID and SPF: results of checks, and what became of messages because of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from mailmoat.mailauth.results import Status
from mailmoat.mailauth.senderid.identities import IdentityKind
from mailmoat.metrics import Family, single


class Action(StrEnum):
    """What was done to a message that did not go through as it was."""

    REFUSED = "refused"
    DEFERRED = "deferred"
    DROPPED = "dropped"
    PARTLY_DROPPED = "partly-dropped"
    """It went to bypassed recipients only."""


SENDERID_RESULTS: Final = Family[StrEnum](
    "mailmoat_senderid_results_total",
    "Checks of senders: the purported responsible address by Sender ID, MAIL FROM and HELO by SPF.",
    {"identity": IdentityKind, "status": Status},
)
SENDERID_ACTIONS: Final = Family(
    "mailmoat_senderid_actions_total",
    "Messages refused, deferred, dropped, or dropped for all but the bypassed recipients, because of their sender.",
    {"action": Action},
)
SENDERID_UNCHECKED: Final = single(
    "mailmoat_senderid_unchecked_total", "Messages from outside whose source address could not be found."
)
