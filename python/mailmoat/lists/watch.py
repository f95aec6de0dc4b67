"""Looks twice a second whether the lists of a worker have changed, or an entry has ended, and says so.

A change is in force in a worker at its next look. Costs a `stat` a look; never raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.lists.lists import Lists

LOOK_TIME: Final = 0.5
"""Seconds between two looks: a change is in force on all workers within a second, its compile included."""


class Timers(Protocol):
    """What waits for the next look."""

    def in_step(self, seconds: float, waiter: Watch, /) -> int:
        """Call `waiter.due` at the next step of so many seconds."""


class Watch:
    """The lists of one worker; `changed` is called after each change."""

    def __init__(self, lists: Lists, timers: Timers, changed: Callable[[], None]) -> None:
        self._lists = lists
        self._timers = timers
        self._changed = changed

    def due(self) -> None:
        """Look, and wait for the next time."""
        self._timers.in_step(LOOK_TIME, self)
        if self._lists.refresh():
            self._changed()
