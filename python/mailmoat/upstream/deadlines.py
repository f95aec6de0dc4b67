"""Calls that come after a time that is the same for all, unless they are taken back: one timer of the loop, however many there are."""

from __future__ import annotations

import asyncio
from itertools import count, takewhile
from typing import TYPE_CHECKING

from mailmoat import clock

if TYPE_CHECKING:
    from collections.abc import Callable


class Deadlines:
    """Calls what was begun `seconds` ago, in its order, on `loop` or else on the running one."""

    def __init__(self, seconds: float, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._seconds, self._loop = seconds, loop
        self._numbers = count()
        self._calls: dict[int, tuple[float, Callable[[], object]]] = {}
        """By number, with the time: the first is due first."""
        self._timer: asyncio.TimerHandle | None = None

    def __contains__(self, number: int) -> bool:
        """Return whether a call is still to come."""
        return number in self._calls

    def begin(self, call: Callable[[], object]) -> int:
        """Have this called after the time; the number is for `end`."""
        number = next(self._numbers)
        self._calls[number] = clock.monotonic() + self._seconds, call
        if self._timer is None:
            self._arm(self._seconds)
        return number

    def end(self, number: int) -> None:
        """Take it back; nothing happens if it was called."""
        self._calls.pop(number, None)

    def end_all(self) -> None:
        """Take all back."""
        self._calls.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, seconds: float) -> None:
        self._timer = (self._loop or asyncio.get_running_loop()).call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        now = clock.monotonic()
        # One after the other from the front, each search for the first would pass over the places of all before it.
        late = list(takewhile(lambda begun: begun[1][0] <= now, self._calls.items()))
        try:
            for number, (_, call) in late:
                if self._calls.pop(number, None) is not None:
                    call()
        finally:
            if self._calls:
                due, _ = next(iter(self._calls.values()))
                self._arm(max(0.0, due - now))
            else:
                self._timer = None
