"""The wheel as delivery sees it."""

from __future__ import annotations

from typing import Protocol


class Due(Protocol):
    """What a timer calls."""

    def due(self) -> None:
        """Take note that the time has come; never called early."""


class Timers(Protocol):
    """The wheel on the loop."""

    def after(self, seconds: float, owner: Due) -> int:
        """Call `owner.due()` in `seconds`; the key cancels it."""

    def cancel(self, key: int) -> object:
        """Forget a timer; harmless when it has run."""
