"""The servers of a live source, each for itself: that one answers says nothing of another one.

One that does not answer is not asked for a while, so that nobody waits in vain. There are as many as the settings name, so nothing here grows.
"""

from __future__ import annotations

from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat.upstream.circuit_breaker import CircuitBreakers

if TYPE_CHECKING:
    from collections.abc import Callable

FAILURES: Final = 3
"""Outages in a row after which a server is not asked for a while."""
OPEN_TIME: Final = 5.0
"""In seconds."""
FAILING_TIME: Final = 60.0
"""Seconds without an answer after which errors in answer to lookups are shown as a failure of the server."""
MOST_SHOWN: Final = 3
"""Servers whose errors are shown; of the others, how many they are."""


class Upstreams:
    """Which servers of one source are asked, and what is wrong with the others."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """Begin without any; `changed` is called when an outage begins, when all are over, and at the first answer if there is none."""
        self.breakers = CircuitBreakers(FAILURES, OPEN_TIME)
        self._changed = changed
        self._heard_at: dict[str, float] = {}
        """When a server last said something, be it an error; monotonic."""
        self._answered_at: dict[str, float] = {}
        """When it last answered a lookup; monotonic."""
        self._errors: dict[str, str] = {}
        """Why it did not when it was last asked."""

    @property
    def error(self) -> str:
        """What is wrong, in a sentence; empty when every server answered when it was last asked."""
        more = len(self._errors) - MOST_SHOWN
        return "; ".join([*islice(self._errors.values(), MOST_SHOWN), *([f"and {more} more"] if more > 0 else [])])

    def was_heard(self, upstream: str, since: float) -> bool:
        """Return whether a server has said something since this time, monotonic."""
        return self._heard_at.get(upstream, 0.0) >= since

    def answered(self, upstream: str) -> None:
        """Note an answer."""
        self._is_there(upstream)
        is_first = not self._answered_at
        self._answered_at[upstream] = clock.monotonic()
        was_away = self._errors.pop(upstream, None) is not None
        if (is_first or was_away) and not self._errors:
            self._changed()

    def erred(self, upstream: str, error: str) -> None:
        """Note an error in answer to a lookup; it is shown where no other one was answered of late."""
        self._is_there(upstream)
        if clock.monotonic() - self._answered_at.get(upstream, -inf) >= FAILING_TIME:
            self._show(upstream, error)

    def failed(self, upstream: str, error: str) -> None:
        """Note an outage."""
        if self.breakers.unanswered(upstream):
            self.breakers.trip(upstream)
        self._show(upstream, error)

    def _is_there(self, upstream: str) -> None:
        self._heard_at[upstream] = clock.monotonic()
        self.breakers.answered(upstream)

    def _show(self, upstream: str, error: str) -> None:
        """Say what is wrong, once."""
        is_new = upstream not in self._errors
        self._errors[upstream] = error
        if is_new:
            self._changed()
