"""One HTTP connection of the admin process, limited in time and number.

A request must arrive and be answered within `REQUEST_TIME`. There are at most `MOST` connections; one more closes the connection
whose time ends first. So monitoring gets an answer, however many clients connect and send nothing. Each answer has its date
(RFC 9110 6.6.1).
"""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING, ClassVar, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from mailmoat import clock

if TYPE_CHECKING:
    import asyncio

REQUEST_TIME: Final = 10.0
"""Seconds from a connection's beginning, or the answer before, to the end of the next answer."""
MOST: Final = 64


class AdminConnection(H11Protocol):
    """What uvicorn makes for each connection."""

    _running: ClassVar[dict[AdminConnection, asyncio.TimerHandle]] = {}
    """All of this process, the one with the nearest deadline first."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give it its time, at the cost of the oldest when there are too many."""
        super().connection_made(transport)
        self._restart()
        if len(self._running) > MOST:
            next(iter(self._running)).overdue()

    def data_received(self, data: bytes) -> None:
        """Date the answer to what is complete with this."""
        self.server_state.default_headers = [(b"date", formatdate(clock.wall_ms() / 1000, usegmt=True).encode())]
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Give it time for another request."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self._restart()

    def overdue(self) -> None:
        """Close it, whatever it is at."""
        self._stop()
        self.transport.abort()

    def _restart(self) -> None:
        self._stop()
        self._running[self] = self.loop.call_later(REQUEST_TIME, self.overdue)

    def _stop(self) -> None:
        timer = self._running.pop(self, None)
        if timer is not None:
            timer.cancel()
