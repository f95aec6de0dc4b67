"""Harvest attacks in log and metrics: one event when an attack begins and one when it is over, whichever worker sees it.

`rust/store/shared/harvest.rs` says what an attack is. Never raises.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mailmoat import clock, maillog
from mailmoat.events import Event
from mailmoat.metrics import Family, single

if TYPE_CHECKING:
    from mailmoat._native import Harvest
    from mailmoat.metrics import Metrics


class Scope(StrEnum):
    """What the guesses of an attack have in common, by the numbers of `HarvestScope`."""

    SOURCE = "source"
    NET = "net"
    DOMAIN = "domain"


SCOPES: Final = tuple(Scope)
HARVESTS: Final = single("mailmoat_harvests_active", "Harvest attacks that go on now.", same=True)
HARVESTS_BEGUN: Final = Family("mailmoat_harvests_total", "Harvest attacks, by what they come from.", {"scope": Scope})


def began(attack: Harvest, metrics: Metrics) -> None:
    """Log and count an attack that begins."""
    metrics.add(HARVESTS_BEGUN[SCOPES[attack.scope]])
    maillog.event(
        Event.HARVEST_BEGAN,
        scope=SCOPES[attack.scope],
        source=attack.prefix,
        domain=attack.domain,
        sources=attack.sources,
        guesses=attack.guesses,
        found=attack.found,
        hit_share=_hit_share(attack),
    )


def tick(metrics: Metrics, least: int) -> None:
    """Log the attacks that are over, and publish how many go on: to be called once a second."""
    for attack in metrics.shared.harvests_ended(int(clock.monotonic()), least):
        maillog.event(
            Event.HARVEST_ENDED,
            scope=SCOPES[attack.scope],
            source=attack.prefix,
            domain=attack.domain,
            sources=attack.sources,
            guesses=attack.guesses,
            found=attack.found,
            hit_share=_hit_share(attack),
            duration=float(attack.seconds),
        )
    metrics.set(HARVESTS, metrics.shared.harvests())


def _hit_share(attack: Harvest) -> float:
    tried = attack.guesses + attack.found
    return round(attack.found / tried, 3) if tried else 0.0
