"""Run synchronous code that asks the resolver, without a thread: a greenlet is suspended until the answer is there.

Code given to `run` asks with `ask`. As long as every answer is in the cache, it runs in the caller's stack frame without a task or
coroutine; the first question that has to be sent turns the call into an awaitable. It has to be called, and awaited, in
the thread of the event loop. Whatever the code raises comes out of `run` or of the awaitable.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, cast

from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mailmoat.resolver import Answer, Budget, Kind, Resolver

Outcome = TypeVar("Outcome")


def ask(resolver: Resolver, name: str, kind: Kind) -> Answer:
    """Return what the resolver answers; only from within code that `run` runs."""
    answer = resolver.cached(name, kind)
    if answer is None:
        loop_side = getcurrent().parent
        if loop_side is None:
            raise RuntimeError("ask was called outside run")
        answer = cast("Answer", loop_side.switch((name, kind)))
    return answer


def run(
    work: Callable[[], Outcome], resolver: Resolver, budget: Budget, seconds: float
) -> Outcome | Awaitable[Outcome]:
    """Return the result of `work`: at once if it needs no answer from outside. The awaitable raises TimeoutError after `seconds`."""
    running = greenlet(work)
    first = running.switch()
    if running.dead:
        return cast("Outcome", first)
    return _drive(running, first, resolver, budget, seconds)


async def _drive(running: greenlet, asked: tuple[str, Kind], resolver: Resolver, budget: Budget, seconds: float) -> Any:
    try:
        async with asyncio.timeout(seconds):
            while not running.dead:
                asked = running.switch(await resolver.query(*asked, budget))
        return asked  # the last switch gave what the work gave
    finally:
        if not running.dead:
            running.throw()  # unwinds it: GreenletExit goes to nobody
