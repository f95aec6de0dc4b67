"""The rates of this machine: what a source does in a time, counted in the memory that its workers share.

A class without a rate costs a look at a tuple. The table of cells is bounded: the cell that is at rest soonest makes room for a new one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat import clock
from mailmoat._native import RateLimits
from mailmoat.limits.limiter import LIMITED, Direction, LimitClass

if TYPE_CHECKING:
    from mailmoat._native import Prefix
    from mailmoat.limits.limiter import RateLimiter
    from mailmoat.metrics import Metrics
    from mailmoat.settings.rate import Rate
    from mailmoat.settings.sections.limits import LimitsSettings

CLASSES: Final = tuple(LimitClass)
_NUMBERS: Final = {kind: number for number, kind in enumerate(CLASSES)}


class Standing(NamedTuple):
    """What a prefix has spent of a class."""

    kind: LimitClass
    prefix: str
    used: int
    """Units that count now."""
    burst: int
    """Units that may."""
    wait: float
    """Seconds until one more is admitted; 0 for now."""
    rest: float
    """Seconds until nothing counts any more."""
    spent: int
    """Units since the prefix was last at rest and forgotten."""


class LocalRates:
    """The rates as one worker sees them. What was spent at other rates, before a reload, counts as no more than a burst of these."""

    def __init__(self, limits: LimitsSettings, metrics: Metrics) -> None:
        rates = [_rate(limits, kind) for kind in CLASSES]
        self._metrics = metrics
        self._on = frozenset(kind for kind, rate in zip(CLASSES, rates, strict=True) if rate is not None)
        plain = [None if rate is None else (rate.count, float(rate.seconds), rate.burst) for rate in rates]
        self.native = RateLimits(metrics.shared, plain)
        """What decides."""
        self.native.lower_debts(clock.monotonic())

    def limits(self, kind: LimitClass) -> bool:
        """Return whether there is a rate for this class."""
        return kind in self._on

    def spend(self, kind: LimitClass, address: str) -> float:
        """Spend one, or return the seconds until that is possible."""
        wait = self.native.spend(_NUMBERS[kind], address, clock.monotonic())
        return self._refuse(kind, wait) if wait else 0.0

    def charge(self, kind: LimitClass, address: str, units: int = 1) -> None:
        """Spend what has happened already."""
        self.native.charge(_NUMBERS[kind], address, clock.monotonic(), units)

    def wait(self, kind: LimitClass, address: str) -> float:
        """Return the seconds until more can be spent."""
        wait = self.native.wait(_NUMBERS[kind], address, clock.monotonic())
        return self._refuse(kind, wait) if wait else 0.0

    def classes(self, *kinds: LimitClass) -> int:
        """Return those of these classes that have a rate, as a set for `take`."""
        return sum(1 << _NUMBERS[kind] for kind in kinds if kind in self._on)

    def take(self, waits: int, spends: int, address: str) -> tuple[LimitClass, float] | None:
        """Wait for each class of one set, and spend one of each of another; return the first that refuses, and its seconds."""
        found = self.native.take(waits, spends, address, clock.monotonic())
        if found is None:
            return None
        kind = CLASSES[found[0]]
        return kind, self._refuse(kind, found[1])

    def is_spent(self, kind: LimitClass, address: str) -> bool:
        """Return whether nothing more can be spent now."""
        return self.native.wait(_NUMBERS[kind], address, clock.monotonic()) > 0

    def show(self, of: Prefix | None, most: int) -> tuple[list[Standing], int]:
        """Return who has spent something in a prefix and in those around it, or everywhere, and how many more than `most` there are.

        Who waits longest comes first.
        """
        found, left_out = self.native.show(of, clock.monotonic(), most)
        return [Standing(CLASSES[one[0]], *one[1:]) for one in found], left_out

    def reset(self, of: Prefix | None) -> int:
        """Forget what was spent in a prefix and in those around it, or everywhere; return for how many cells that made a difference."""
        return self.native.reset(of, clock.monotonic())

    def _refuse(self, kind: LimitClass, wait: float) -> float:
        self._metrics.add(LIMITED[kind, Direction.IN])
        return wait


def _rate(limits: LimitsSettings, kind: LimitClass) -> Rate | None:
    rate: Rate | None = getattr(limits, kind.setting)
    return rate


if TYPE_CHECKING:

    def _is_rate_limiter(rates: LocalRates) -> RateLimiter:
        return rates
