"""uvicorn's server without a clock: it waits for its end, where uvicorn looks ten times a second whether it has come."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Iterator


class AdminServer(uvicorn.Server):
    """The server of the admin process; `connection` dates its answers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Stop serving; call it in the loop's turn, or before the loop runs."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """Wait for `end`."""
        await self._ending.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT in the loop's turns, so that none comes between a look at `end` and the wait for it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.end)
        yield
