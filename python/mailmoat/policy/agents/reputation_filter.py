"""Refuse or stamp mail of sources with a bad reputation (`reputation/records.py`).

A source is refused while it is blocked, at RCPT, so that the log has the recipient, and before relay control, so that it learns nothing of our
addresses. `postmaster` stays reachable: a sender that is blocked by mistake can write there. A stamp marks what would count against the source; it says the level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat._native import Condition
from mailmoat.policy.agent import Agent
from mailmoat.policy.filter_stamp import FilterRule, filter_stamp
from mailmoat.policy.known_good import KnownGood
from mailmoat.policy.open_recipients import OpenRecipients
from mailmoat.policy.verdict import PASS, Pass, Reject, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat._native import Stage
    from mailmoat.policy.agent import RcptView
    from mailmoat.policy.client import ClientKind
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict
    from mailmoat.settings import Settings

LEVELS: Final = 10


class ReputationRule(FilterRule):
    """Why a source is refused."""

    BAD_REPUTATION = "bad-reputation"


class ReputationFilter(Agent):
    """Judges each recipient of a source that is judged."""

    name = "reputation_filter"

    def __init__(self, services: Services) -> None:
        rules = services.settings.reputation
        self._records = services.records
        self._known_good = KnownGood(services.known_good)
        self._rejects = rules.action == "reject"
        self._level = rules.block_level
        self._open = OpenRecipients(services.settings)
        self._stamps: dict[int | None, Pass] = {
            level: Pass((filter_stamp(ReputationRule.BAD_REPUTATION, f"level {level}"),))
            for level in range(rules.block_level, LEVELS)
        }

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether reputation has consequences."""
        return settings.reputation.action != "off"

    def concerns(self, kind: ClientKind) -> bool:
        """Return whether it is judged."""
        return kind.trust.judged

    def passes_if(self, stage: Stage) -> Sequence[Condition]:  # noqa: ARG002 - it listens to one
        """Return that nothing follows from its reputation."""
        return (Condition.not_blocked() if self._rejects else Condition.level_below(self._level),)

    def on_rcpt(self, view: RcptView) -> Verdict:
        """Refuse with 550 5.7.1 while the source is blocked; or stamp the message, once for all recipients."""
        client = view.client
        if not client.trust.judged or not client.address or client in self._known_good:
            return PASS
        if self._rejects:
            return self._refuse(view) if self._records.blocks(client.address) else PASS
        stamp = self._stamps.get(self._records.level(client.address), PASS)
        return PASS if stamp is PASS or view.recipients else stamp

    def _refuse(self, view: RcptView) -> Verdict:
        if view.recipient in self._open:
            return PASS
        text = (
            f"Mail from {view.client.address} is refused for what it sent before; to object, write to postmaster here"
        )
        return Reject(Reply.showing(550, "5.7.1", text), ReputationRule.BAD_REPUTATION)
