"""Hold the replies to a source longer, the more unknown recipients it has tried (`tarpit.escalate`).

`tarpit.time` doubles with each `tarpit.escalate_after` unknown recipients, up to `tarpit.escalate_max`; they decay as all records do, by half every 12
hours. A source that has one recipient accepted for every three unknown ones is held for `tarpit.time`, like any other. The delay is set at
MAIL, for the transaction and those after it; `tarpit.max_session` bounds the sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat._native import Condition
from mailmoat.policy.agent import Agent
from mailmoat.policy.verdict import PASS, Pass
from mailmoat.reputation.records import PARTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat._native import Stage
    from mailmoat.policy.agent import SessionView
    from mailmoat.policy.client import ClientKind
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict
    from mailmoat.settings import Settings

UNKNOWN_FOR_ACCEPTED: Final = 3
"""Unknown recipients for each accepted one from which on a source is held longer."""


class EscalatingTarpit(Agent):
    """Sets the delay of a session."""

    name = "escalating_tarpit"

    def __init__(self, services: Services) -> None:
        tarpit = services.settings.tarpit
        self._records = services.records
        self._after = tarpit.escalate_after
        self._passes = escalation(tarpit.time, tarpit.escalate_max)

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether there is a delay that can grow."""
        return settings.tarpit.escalate and 0 < settings.tarpit.time < settings.tarpit.escalate_max

    def concerns(self, kind: ClientKind) -> bool:
        """Return whether it is ever held longer."""
        return kind.trust.judged and not kind.trust.exempt

    def passes_if(self, stage: Stage) -> Sequence[Condition]:  # noqa: ARG002 - it listens to one
        """Return that it has guessed seldom."""
        return (Condition.few_unknown(self._after * PARTS),)

    def on_mail(self, view: SessionView) -> Verdict:
        """Pass, with the delay of the source if it is longer than that of others."""
        client = view.client
        if not client.trust.judged or client.trust.exempt:
            return PASS
        unknown, accepted = self._records.recipients(client.address)
        doublings = int(unknown // self._after)
        if not doublings or accepted * UNKNOWN_FOR_ACCEPTED >= unknown:
            return self._passes[0]
        return self._passes[min(doublings, len(self._passes) - 1)]


def escalation(base: float, most: float) -> list[Pass]:
    """Return a pass for each number of doublings; the last one has the longest delay."""
    seconds = [base]
    while seconds[-1] < most:
        seconds.append(min(2 * seconds[-1], most))
    return [PASS, *(Pass(tarpit=each) for each in seconds[1:])]
