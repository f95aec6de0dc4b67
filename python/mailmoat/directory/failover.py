"""Reads a synchronised source at one of its servers, and goes on at the next one when it fails.

Promises: a server that fails is passed over for a while; the outage is a SourceError, with what each server said, only when each of them failed since
one served. When a preferred server serves again, the source is read there at once. `Using` says why the servers before it are passed over. Servers
that each serve for a moment and fail are tried at longer and longer intervals once each was tried.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from mailmoat import clock
from mailmoat.directory.pause import pause
from mailmoat.directory.preference import FIRST_PAUSE
from mailmoat.directory.source import Current, Delta, Using, Whole
from mailmoat.errors import SourceError
from mailmoat.growing_pause import next_pause

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from mailmoat.directory.preference import Preference
    from mailmoat.directory.source import Step

S = TypeVar("S")


async def follow(
    preference: Preference[S],
    cookie: bytes | None,
    steps_at: Callable[[S, bytes | None], AsyncGenerator[Step, None]],
    returns: Callable[[S], Awaitable[bool]],
) -> AsyncGenerator[Step, None]:
    """Yield what `steps_at` yields for a server and the cookie of the last step, for one server after the other.

    It ends with the steps of a server, unless `returns` then gives True: a server that is preferred to this one serves again.
    """
    failures: dict[S, str] = {}
    moments = _Moments()
    while True:
        servers = preference.in_turn()
        server = next((each for each in servers if each not in failures), None)
        if server is None:
            raise SourceError("; ".join(failures.values()))
        await moments.wait(len(servers))
        begun = clock.monotonic()
        try:
            async with aclosing(steps_at(server, cookie)) as steps:
                async for step in steps:
                    if isinstance(step, Using):
                        yield step._replace(passed_over=preference.passed_over(server))
                        continue
                    if isinstance(step, Whole | Current) or (isinstance(step, Delta) and not step.more):
                        cookie = step.cookie
                        failures.clear()
                        preference.served(server)
                    yield step
        except SourceError as error:
            failures[server] = str(error)
            preference.failed(server, failures[server])
            moments.failed(clock.monotonic() - begun)
        else:
            if not await returns(server):
                return


class _Moments:
    """How many servers in a row failed before they had served for `FIRST_PAUSE`, and the pause that follows from it."""

    def __init__(self) -> None:
        self._count = 0
        self._seconds = 0.0

    async def wait(self, servers: int) -> None:
        """Wait, longer and longer, once each of so many servers was tried."""
        if self._count > servers:
            self._seconds = next_pause(self._seconds, 1.0, FIRST_PAUSE)
            await pause(self._seconds)

    def failed(self, served: float) -> None:
        """Count a server that failed after it had served for so many seconds."""
        if served < FIRST_PAUSE:
            self._count += 1
        else:
            self._count, self._seconds = 0, 0.0
