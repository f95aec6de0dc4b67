"""Refuse a recipient whose next hop cannot take the message, while others of the server's next hops could: see `NextHopRefusals`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.policy.agent import Agent
from mailmoat.policy.next_hop_refusals import NextHopRefusals
from mailmoat.policy.verdict import PASS

if TYPE_CHECKING:
    from mailmoat.policy.agent import RcptView
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict
    from mailmoat.settings import Settings


class NextHopLimits(Agent):
    """Judges each recipient by what the next hop of its route takes."""

    name = "next_hop_limits"

    def __init__(self, services: Services) -> None:
        self._refusals = NextHopRefusals(services)

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether there is anything to judge."""
        return NextHopRefusals.are_possible(settings)

    def on_rcpt(self, view: RcptView) -> Verdict:
        """Refuse with 550 5.6.7 or 552 5.3.4."""
        return self._refusals.of(view) or PASS
