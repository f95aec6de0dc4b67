"""Reading from one peer: not while there is a reason against it, and not after the peer has closed its sending side.

A transport that does not read does not notice the end of its peer: meanwhile the state of the socket is checked every second, and a connection that was
reset is aborted. One that only the peer has closed (CLOSE_WAIT) may still read its replies.
"""

from __future__ import annotations

import socket  # noqa: TID251 - the option numbers of TCP_INFO
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

    from mailmoat.runtime.timers import Timers

CLOGGED: Final = 1
"""The peer does not take its replies."""
AHEAD: Final = 2
"""It has sent far ahead of a reply that is owed to it."""
TURN: Final = 4
"""It has had its turn."""

ESTABLISHED, CLOSE_WAIT = 1, 8  # tcpi_state of <netinet/tcp.h>
PROBE_SECONDS: Final = 1.0
TURN_BUFFERS: Final = 2
"""Full ones read in one turn of the loop; of a content it is one: those are large."""


class Intake:
    """The reading side of one connection; `ended` once the peer has said that it sends no more."""

    __slots__ = ("_filled", "_probing", "_reasons", "_timers", "_transport", "ended")

    def __init__(self, transport: asyncio.Transport, timers: Timers) -> None:
        self._transport = transport
        self._timers = timers
        self._reasons = 0
        self._filled = 0
        self._probing = False
        self.ended = False

    def stops_for(self, reason: int) -> bool:
        """Return whether this is a reason not to read now."""
        return bool(self._reasons & reason)

    def filled(self) -> bool:
        """Return whether to stop after a full buffer until another turn; there may be more input."""
        self._filled = (self._filled + 1) % TURN_BUFFERS
        return not self._filled

    def stop(self, reason: int) -> None:
        """Read nothing while the reason lasts."""
        if not self._reasons and not self.ended:
            self._transport.pause_reading()
        self._reasons |= reason
        if reason != TURN:
            self._watch()

    def go_on(self, reasons: int) -> None:
        """Remove these reasons; read again if there is no other."""
        if self._reasons & reasons:
            self._reasons &= ~reasons
            if not self._reasons and not self.ended and not self._transport.is_closing():
                self._transport.resume_reading()

    def end(self) -> None:
        """Record that the peer has closed its sending side: the transport reads no more."""
        self.ended = True
        self._watch()

    def due(self) -> None:
        """Look whether the peer is still there."""
        self._probing = False
        if self._transport.is_closing() or not (self._reasons or self.ended):
            return
        connected = self._transport.get_extra_info("socket")
        if connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in (ESTABLISHED, CLOSE_WAIT):
            self._watch()
        else:
            self._transport.abort()

    def _watch(self) -> None:
        if not self._probing:
            self._probing = True
            self._timers.after(PROBE_SECONDS, self)
