"""The pause before the next attempt at what fails: twice the one before, within bounds. Pure; reads no clock."""

from __future__ import annotations


def next_pause(last: float, first: float, longest: float) -> float:
    """Return the pause that follows one of `last` seconds, or the `first` one when that is 0."""
    return min(max(first, 2 * last), longest)
