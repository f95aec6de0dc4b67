"""How large a message may be that goes back whole in a report. A report is made in memory and stored like any message, the message in it."""

from __future__ import annotations

from mailmoat.settings.values import size

LARGEST = 128 << 10
"""Octets."""


def return_size(value: object) -> int:
    """Octets of a message that a report can hold; ValueError for more."""
    octets = size(value)
    if octets > LARGEST:
        raise ValueError("more than a report can hold")
    return octets
