"""The interface of resolvers, and the budget of a message.

`Resolver` is kept by `DnsResolver` and by the tests' fake one, and one kit of tests holds both to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mailmoat import clock

if TYPE_CHECKING:
    from mailmoat.resolver.answer import Answer, Kind


class Budget:
    """What one message may still ask: queries that no cache answers, and seconds from now, waiting or not."""

    __slots__ = ("_deadline", "client", "left")

    def __init__(self, queries: int, seconds: float, client: str = "") -> None:
        self.left = queries
        """Queries left."""
        self.client = client
        """The address of the host that the queries are asked for: it gets its share of them and no more."""
        self._deadline = clock.monotonic() + seconds

    @property
    def seconds(self) -> float:
        """Time left; 0 when it is up."""
        return max(0.0, self._deadline - clock.monotonic())

    def spend(self) -> bool:
        """Count one query; False when there is none left or the time is up."""
        if self.left <= 0 or not self.seconds:
            return False
        self.left -= 1
        return True


class Resolver(Protocol):
    """Answers queries. Equal queries at the same time cost one; too many at a time wait for each other."""

    def cached(self, name: str, kind: Kind) -> Answer | None:
        """Return the answer if it is known, including a refusal to query; None: await `query`."""
        ...

    async def query(self, name: str, kind: Kind, budget: Budget) -> Answer:
        """Return the answer. Raises only CancelledError, which does not affect other callers. A cached answer is not charged to `budget`."""
        ...

    async def close(self) -> None:
        """Answer all waiting queries with `Failed`, and close all sockets."""
        ...
