"""Calls that come after a time that is the same for all, unless they are taken back: one timer of the loop, however many there are."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING

from mailmoat import clock

if TYPE_CHECKING:
    from collections.abc import Callable


class Deadlines:
    """Calls what was begun `seconds` ago, in its order."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
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
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._sweep)
        return number

    def end(self, number: int) -> None:
        """Take it back; nothing happens if it was called."""
        self._calls.pop(number, None)

    def _sweep(self) -> None:
        self._timer = None
        now = clock.monotonic()
        while self._calls:
            number, (due, call) = next(iter(self._calls.items()))
            if due > now:
                self._timer = asyncio.get_running_loop().call_later(due - now, self._sweep)
                return
            del self._calls[number]
            call()
