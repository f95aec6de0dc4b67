"""Whether any name server answers: the circuit breaker over all zones.

Unanswered queries in a row may only mean that a client sends mail from dead zones, which must not stop all other
queries. So they raise a suspicion, and a query that every server answers from its cache (the root's SOA) decides.
Without an answer only this query is sent, once in a while.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mailmoat import clock
from mailmoat.resolver.servers import UNANSWERED, Servers

if TYPE_CHECKING:
    from collections.abc import Callable


class UpstreamHealth:
    """Dead or alive, and who finds out."""

    def __init__(self, servers: Servers, failures: int, open_time: float, notify: Callable[[bool], None]) -> None:
        self._servers = servers
        self._limit = failures
        self._open_time = open_time
        self._notify = notify
        """Told when they fall silent (True) and when one answers again (False)."""
        self._unanswered = 0
        self._next_check: float | None = None
        """None while they answer."""
        self._check: asyncio.Task[None] | None = None

    def refuses(self) -> bool:
        """Return whether a query would be useless; tests the servers again when it is time."""
        if self._next_check is None:
            return False
        if clock.monotonic() >= self._next_check:
            self._find_out()
        return True

    def answered(self) -> None:
        """Record an answer of any server."""
        self._unanswered = 0
        if self._next_check is not None:
            self._next_check = None
            self._notify(False)

    def renew(self) -> None:
        """Forget the state, because the servers have changed."""
        if self._check:
            self._check.cancel()
        self.answered()

    def unanswered(self) -> None:
        """Record a query that no server answered."""
        self._unanswered += 1
        if self._unanswered >= self._limit and self._next_check is None:
            self._find_out()

    async def close(self) -> None:
        """Ask no more."""
        if self._check and not self._check.done():
            self._check.cancel()
            await asyncio.wait((self._check,))

    def _find_out(self) -> None:
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._ask_for_the_root())

    async def _ask_for_the_root(self) -> None:
        answer = await self._servers.ask((), "SOA")
        if answer != UNANSWERED:
            self.answered()
            return
        if self._next_check is None:
            self._notify(True)
        self._next_check = clock.monotonic() + self._open_time
