"""A wait on the timers of the running loop: what has no `Timers` of its own, such as the directory process, uses it."""

from __future__ import annotations

import asyncio


async def pause(seconds: float = 0.0) -> None:
    """Wait on the running loop; let others run even when there is nothing to wait for."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    timer = loop.call_later(seconds, _end, over)
    try:
        await over
    finally:
        timer.cancel()


def _end(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)
