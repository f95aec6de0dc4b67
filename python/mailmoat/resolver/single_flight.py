"""The running DNS queries: those of one name and kind are one query, and the room is shared between clients and between zones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat.net.address import site
from mailmoat.resolver import names
from mailmoat.resolver.answer import Answer, Failed, Failure
from mailmoat.upstream import single_flight
from mailmoat.upstream.single_flight import Unanswered

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from mailmoat.resolver.cache import Key

MOST: Final = 1000
"""Queries on their way at a time; each has a socket."""
_FAILURES: Final = {
    Unanswered.NO_ROOM: Failure.NO_ROOM,
    Unanswered.BUDGET: Failure.BUDGET,
    Unanswered.BROKEN: Failure.BROKEN,
}


class SingleFlight:
    """Asked and not yet answered. `ask` puts a query to the servers; what it raises comes out of `answer`."""

    def __init__(self, ask: Callable[[Key], Coroutine[object, object, Answer]], most: int | None = None) -> None:
        self._shared = single_flight.SingleFlight(ask, MOST if most is None else most)

    def __contains__(self, key: Key) -> bool:
        return key in self._shared

    def __len__(self) -> int:
        return len(self._shared)

    async def answer(self, key: Key, client: str, seconds: float) -> Answer:
        """Return the answer to a query of this client, and query unless a query is running.

        After so many seconds it is Failed: NO_ROOM for a query that has been in the line, else BUDGET.
        """
        found = await self._shared.answer(key, seconds, (("zone", names.zone(key[0])), ("client", site(client))))
        return Failed(_FAILURES[found]) if isinstance(found, Unanswered) else found

    async def close(self) -> None:
        """Give all of them up."""
        await self._shared.close()
