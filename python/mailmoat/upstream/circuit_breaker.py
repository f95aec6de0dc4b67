"""Circuit breakers: what did not answer several times in a row is not queried for a while, so that no query waits in vain.

They protect against waiting, so any answer, also the failure of a server, closes a breaker; only a query without an answer in time counts
against it. The owner opens a breaker with too many of these. When its time is over, exactly one query is sent.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from mailmoat import clock

MOST: Final = 1000


class _CircuitBreaker:
    __slots__ = ("failures", "opens_at", "probing")

    def __init__(self) -> None:
        self.failures = 0
        self.opens_at = 0.0
        """When the next query may go through; 0 while nothing is held back."""
        self.probing = False


class CircuitBreakers:
    """A breaker for each name that did not answer its last query; the one longest without news is forgotten first."""

    def __init__(self, failures: int, open_time: float) -> None:
        self._limit = failures
        self._open_time = open_time
        self._breakers: OrderedDict[str, _CircuitBreaker] = OrderedDict()
        self.open = 0
        """How many hold queries back."""

    def __len__(self) -> int:
        return len(self._breakers)

    def refuses(self, name: str) -> bool:
        """Return whether a query would be held back."""
        breaker = self._breakers.get(name)
        return breaker is not None and (breaker.probing or clock.monotonic() < breaker.opens_at)

    def asked(self, name: str) -> None:
        """Count a query that is sent."""
        breaker = self._breakers.get(name)
        if breaker is not None and breaker.opens_at:
            breaker.probing = True

    def answered(self, name: str) -> None:
        """Record an answer."""
        breaker = self._breakers.pop(name, None)
        if breaker is not None and breaker.opens_at:
            self.open -= 1

    def clear(self) -> None:
        """Forget all of them."""
        self._breakers.clear()
        self.open = 0

    def unanswered(self, name: str) -> bool:
        """Record a timeout; return whether it was one too many."""
        breaker = self._breakers.setdefault(name, _CircuitBreaker())
        self._breakers.move_to_end(name)
        breaker.failures += 1
        if len(self._breakers) > MOST:
            self.answered(next(iter(self._breakers)))
        return breaker.failures >= self._limit

    def trip(self, name: str) -> None:
        """Open the breaker of a name that was not answered."""
        breaker = self._breakers.get(name)
        if breaker is not None:
            self.open += not breaker.opens_at
            breaker.opens_at = clock.monotonic() + self._open_time
            breaker.probing = False

    def abandoned(self, name: str) -> None:
        """Record that the query was given up before an answer."""
        breaker = self._breakers.get(name)
        if breaker is not None:
            breaker.probing = False
