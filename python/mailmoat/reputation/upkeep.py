"""What one worker does now and then for the records of all: looks for attacks that are over, and saves the records.

Whichever worker comes first does it, so nothing depends on one of them. The disk is waited for in a thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat import clock
from mailmoat.reputation import harvests, saved
from mailmoat.reputation.records import is_recorded

if TYPE_CHECKING:
    import asyncio

    from mailmoat.metrics import Metrics
    from mailmoat.settings import Settings


class Upkeep:
    """The upkeep by one worker."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._spool_dir = settings.spool_dir
        self._least = settings.reputation.harvest
        self._metrics = metrics
        self._is_on = is_recorded(settings)

    def tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Work once a second, where anything is recorded."""
        if not self._is_on:
            return
        harvests.tick(self._metrics, self._least)
        shared = self._metrics.shared
        if shared.reputation_save_due(int(clock.monotonic()), saved.SECONDS):
            loop.run_in_executor(None, saved.save, shared, self._spool_dir)
