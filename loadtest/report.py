"""Figures from measurements: quantiles, ratios per round, and the tables people read. Pure: values in, text out."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Range(NamedTuple):
    """Median with the least and the greatest."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Iterable[float]) -> Range | None:
        """Return the range of these values; None without values."""
        found = sorted(values)
        return Range(median(found), found[0], found[-1]) if found else None

    def text(self, digits: int = 0) -> str:
        """Return `median (low-high)`."""
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f}-{self.high:,.{digits}f})"


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of the ordered values do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def spread(values: Iterable[float]) -> dict[str, float]:
    """Count, least, median, p95, p99, greatest."""
    ordered = sorted(values)
    if not ordered:
        return {"count": 0}
    return {
        "count": len(ordered),
        "min": round(ordered[0], 3),
        "p50": round(quantile(ordered, 0.5), 3),
        "p95": round(quantile(ordered, 0.95), 3),
        "p99": round(quantile(ordered, 0.99), 3),
        "max": round(ordered[-1], 3),
    }


def ratios(above: Sequence[float | None], below: Sequence[float | None]) -> list[float]:
    """Return the ratio for each round that has both values."""
    return [a / b for a, b in zip(above, below, strict=False) if a is not None and b]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others numbers."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
