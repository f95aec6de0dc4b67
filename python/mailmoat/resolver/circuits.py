"""Circuit breakers: what did not answer several times in a row is left alone for a while, so that nobody waits for it in vain.

They guard against waiting, so any answer, a server's failure too, closes a circuit; only a question nobody answered in time counts
against it. When the time is over exactly one question goes through, and its fate is the circuit's.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from mailmoat import clock

MOST: Final = 1000


class _Circuit:
    __slots__ = ("failures", "opens_at", "probing")

    def __init__(self) -> None:
        self.failures = 0
        self.opens_at = 0.0
        """When the next question may go through; 0 while nothing is held back."""
        self.probing = False


class Circuits:
    """A circuit for each zone that did not answer its last question; the one longest without news is forgotten first."""

    def __init__(self, failures: int, open_time: float) -> None:
        self._limit = failures
        self._open_time = open_time
        self._circuits: OrderedDict[str, _Circuit] = OrderedDict()
        self.open = 0
        """How many hold questions back."""

    def __len__(self) -> int:
        return len(self._circuits)

    def refuses(self, zone: str) -> bool:
        """Whether a question would be held back."""
        circuit = self._circuits.get(zone)
        return circuit is not None and (circuit.probing or clock.monotonic() < circuit.opens_at)

    def asked(self, zone: str) -> None:
        """A question goes through."""
        circuit = self._circuits.get(zone)
        if circuit is not None and circuit.opens_at:
            circuit.probing = True

    def answered(self, zone: str) -> None:
        """An answer came."""
        circuit = self._circuits.pop(zone, None)
        if circuit is not None and circuit.opens_at:
            self.open -= 1

    def clear(self) -> None:
        """Forget all of them."""
        self._circuits.clear()
        self.open = 0

    def unanswered(self, zone: str) -> None:
        """No answer came in time."""
        circuit = self._circuits.setdefault(zone, _Circuit())
        self._circuits.move_to_end(zone)
        circuit.failures += 1
        circuit.probing = False
        if circuit.failures >= self._limit:
            self.open += not circuit.opens_at
            circuit.opens_at = clock.monotonic() + self._open_time
        if len(self._circuits) > MOST:
            self.answered(next(iter(self._circuits)))
