"""Whether any name server answers at all: the breaker over all zones.

Questions in a row that nobody answered may only mean that somebody sends mail from dead zones, and must not cost everybody else the
domain name system. So they raise a suspicion, and a question that every server answers from what it has (the root's SOA) settles it.
While there is no answer nothing is asked but that, once in a while.
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
        """Whether a question would be in vain; finds out anew when it is time."""
        if self._next_check is None:
            return False
        if clock.monotonic() >= self._next_check:
            self._find_out()
        return True

    def answered(self) -> None:
        """Some server answered some question."""
        self._unanswered = 0
        if self._next_check is not None:
            self._next_check = None
            self._notify(False)

    def renew(self) -> None:
        """The servers are others: nothing is known of them."""
        if self._check:
            self._check.cancel()
        self.answered()

    def unanswered(self) -> None:
        """No server answered a question."""
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
