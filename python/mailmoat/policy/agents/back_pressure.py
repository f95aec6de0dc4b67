"""Ask clients to come again later when the server is short of something: those that are trusted least first (RFC 5321 4.2.3, RFC 3463 X.3.1).

A refusal of MAIL with 452 costs both sides least: no content was sent, nothing is held, and a server tries again. Without pressure
the agent looks at one number and passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat._native import Condition
from mailmoat.limits.pressure import Level, Pressure
from mailmoat.policy.agent import Agent
from mailmoat.policy.verdict import PASS, Reply, Rule, Tempfail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat._native import Stage
    from mailmoat.policy.agent import SessionView
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict
    from mailmoat.settings import Settings


class PressureRule(Rule):
    """Under which pressure a message is refused."""

    PRESSURE_MEDIUM = "pressure-medium"
    PRESSURE_HIGH = "pressure-high"


REPLY: Final = Reply(452, "4.3.1", "Insufficient system resources; try again later")


class BackPressure(Agent):
    """Asked at MAIL."""

    name = "back_pressure"

    def __init__(self, services: Services) -> None:
        self._precedences = services.precedences

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether anything is watched."""
        return Pressure.is_on(settings.pressure)

    def passes_if(self, stage: Stage) -> Sequence[Condition]:  # noqa: ARG002 - it listens to one
        """Return that the server is short of nothing."""
        return (Condition.no_pressure(),)

    def on_mail(self, view: SessionView) -> Verdict:
        """Refuse clients that have to wait with 452."""
        if not self._precedences.waits(view.client):
            return PASS
        pressure = self._precedences.pressure
        high = pressure.level is Level.HIGH
        rule = PressureRule.PRESSURE_HIGH if high else PressureRule.PRESSURE_MEDIUM
        return Tempfail(REPLY, rule, pressure.resource or "")
