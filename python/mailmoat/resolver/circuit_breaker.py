"""Circuit breakers: what did not answer several times in a row is left alone for a while, so that nobody waits for it in vain.

They guard against waiting, so any answer, a server's failure too, closes a circuit; only a question nobody answered in time counts
against it. Who keeps them opens one that has too many of these. When its time is over exactly one question goes through.
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
    """A circuit for each name that did not answer its last question; the one longest without news is forgotten first."""

    def __init__(self, failures: int, open_time: float) -> None:
        self._limit = failures
        self._open_time = open_time
        self._circuits: OrderedDict[str, _Circuit] = OrderedDict()
        self.open = 0
        """How many hold questions back."""

    def __len__(self) -> int:
        return len(self._circuits)

    def refuses(self, name: str) -> bool:
        """Whether a question would be held back."""
        circuit = self._circuits.get(name)
        return circuit is not None and (circuit.probing or clock.monotonic() < circuit.opens_at)

    def asked(self, name: str) -> None:
        """A question goes through."""
        circuit = self._circuits.get(name)
        if circuit is not None and circuit.opens_at:
            circuit.probing = True

    def answered(self, name: str) -> None:
        """An answer came."""
        circuit = self._circuits.pop(name, None)
        if circuit is not None and circuit.opens_at:
            self.open -= 1

    def clear(self) -> None:
        """Forget all of them."""
        self._circuits.clear()
        self.open = 0

    def unanswered(self, name: str) -> bool:
        """No answer came in time; whether that was once too often."""
        circuit = self._circuits.setdefault(name, _Circuit())
        self._circuits.move_to_end(name)
        circuit.failures += 1
        if len(self._circuits) > MOST:
            self.answered(next(iter(self._circuits)))
        return circuit.failures >= self._limit

    def leave_alone(self, name: str) -> None:
        """Open the circuit of a name that was not answered."""
        circuit = self._circuits.get(name)
        if circuit is not None:
            self.open += not circuit.opens_at
            circuit.opens_at = clock.monotonic() + self._open_time
            circuit.probing = False

    def given_up(self, name: str) -> None:
        """The question that went through was given up before there was an answer."""
        circuit = self._circuits.get(name)
        if circuit is not None:
            circuit.probing = False
