"""How many reports go out, in all workers together: budgets for each address, each domain and in total, and the alarm of a flood.

Unknown senders outside, those whom SPF confirms, and clients inside have budgets of their own, so that none uses up those of another: a
flood of forged messages does not cost a real sender its report. What a budget has no room for is suppressed and not delayed: a delayed
report would reach its victim after all. Never raises.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mailmoat import clock, maillog
from mailmoat._native import ReportBudgets
from mailmoat.events import Event
from mailmoat.metrics import Family, single
from mailmoat.reports.governor import Suppressed

if TYPE_CHECKING:
    from mailmoat.metrics import Metrics
    from mailmoat.settings.sections.ndr import NdrSettings


class Side(StrEnum):
    """Whose mail a report is about: the label in metrics, by the numbers of `ReportBudgets`."""

    OUTSIDE = "outside"
    """An unknown sender: anybody can have written it."""
    VERIFIED = "verified"
    """SPF confirms the reverse-path."""
    INSIDE = "inside"
    """An internal client, or one that has authenticated."""


_NUMBERS: Final = {side: number for number, side in enumerate(Side)}
_REASONS: Final = (Suppressed.ADDRESS_BUDGET, Suppressed.DOMAIN_BUDGET, Suppressed.TOTAL_BUDGET)
"""By the numbers of `ReportBudgets`."""
BOUNCE_FLOOD: Final = Family(
    "mailmoat_bounce_flood",
    "1 while more bounces are due than a budget has room for, by side.",
    {"side": Side},
    same=True,
)
WORKERS_WITHOUT_BOUNCES: Final = single("mailmoat_workers_without_bounces", "Workers with `ndr.enabled` off.")


class Budgets:
    """The budgets as one worker sees them."""

    def __init__(self, settings: NdrSettings, metrics: Metrics) -> None:
        outside = (settings.per_address, settings.per_domain, settings.total)
        rates = (
            *outside, *outside,
            settings.inside_per_address, settings.inside_per_domain, settings.inside_total,
        )  # fmt: skip
        plain = [None if rate is None else (rate.count, float(rate.seconds), rate.burst) for rate in rates]
        self._native = ReportBudgets(metrics.shared, plain, settings.fold_time)
        self._without_fold = ReportBudgets(metrics.shared, plain, 0.0)
        self._native.lower_debts(clock.monotonic())
        self._metrics = metrics
        self._least = settings.flood_alarm
        metrics.set(WORKERS_WITHOUT_BOUNCES, int(not settings.enabled))

    def spend(self, side: Side, address: str, *, folds: bool) -> Suppressed | None:
        """Spend a report to a normalised address, or return which budget has no room; that is counted.

        `folds`: it begins a fold, for whose time repeats are held.
        """
        budgets = self._native if folds else self._without_fold
        refused = budgets.spend(_NUMBERS[side], address, _domain(address), clock.monotonic())
        if refused is None:
            return None
        self._withheld(side, address)
        return _REASONS[refused[0]]

    def exhausted(self, side: Side, address: str, within: float) -> Suppressed | None:
        """Return which budget will have no room for longer than `within` seconds; what is refused is counted as by `spend`."""
        refused = self._native.wait(_NUMBERS[side], address, _domain(address), clock.monotonic())
        if refused is None or refused[1] <= within:
            return None
        self._withheld(side, address)
        return _REASONS[refused[0]]

    def held(self, address: str) -> float:
        """Return the seconds that are left of the fold at an address; 0 when a report may go there."""
        return self._native.held(address, clock.monotonic())

    def tick(self) -> None:
        """Work once a second: log the floods that are over, and publish whether there is one."""
        for number, withheld, domains, seconds in self._native.floods_ended(int(clock.monotonic()), self._least):
            maillog.event(
                Event.BOUNCE_FLOOD_ENDED,
                side=tuple(Side)[number],
                withheld=withheld,
                domains=domains,
                duration=float(seconds),
            )
        for side in Side:
            self._metrics.set(BOUNCE_FLOOD[side], int(self._native.is_flooded(_NUMBERS[side])))

    def _withheld(self, side: Side, address: str) -> None:
        flood = self._native.count_withheld(_NUMBERS[side], _domain(address), int(clock.monotonic()), self._least)
        if flood is not None:
            maillog.event(Event.BOUNCE_FLOOD_BEGAN, side=side, withheld=flood[1], domains=flood[2])


def _domain(address: str) -> str:
    return address.rpartition("@")[2]
