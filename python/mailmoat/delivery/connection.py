"""One connection to a next hop: the client machine joined to a transport of the loop.

Carries bytes to and fro with flow control and the time limits of RFC 5321 4.5.3.2. Promises: every attempt begun here is finished
exactly once, through the loop, whatever happens to the connection. Never raises for what a next hop does, never makes a task,
never retries: the pool decides.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final, Protocol, cast

from mailmoat import clock
from mailmoat._native import ClientStep
from mailmoat.delivery.attempt import AttemptRecord, rest_of
from mailmoat.delivery.offers import Offers

if TYPE_CHECKING:
    from mailmoat._native import RecipientState, TlsFacts
    from mailmoat.delivery.attempt import Attempt
    from mailmoat.delivery.handshake import Secured
    from mailmoat.delivery.hosts import Host
    from mailmoat.delivery.time_limits import TimeLimits
    from mailmoat.runtime.timers import Timers

LAST_WORDS: Final = 4096
"""Octets read of a connection that was reset."""
# Here, since a member is slow to reach through its class.
READY, DONE, CLOSED, MORE = ClientStep.READY, ClientStep.DONE, ClientStep.CLOSED, ClientStep.MORE
START_TLS = ClientStep.START_TLS
_WRITE_BUFFER: Final = 256 * 1024
"""Octets in a transport's buffer above which no more of a content file is read."""


class Owner(Protocol):
    """The pool, as a connection sees it."""

    def free(self, connection: OutboundConnection) -> None:
        """Take back the connection after an attempt: it can be used for the next."""

    def again(self, attempt: Attempt) -> None:
        """Take back an attempt to begin it anew: a kept connection was closed before the next hop replied, or this is a rest."""

    def lost(self, connection: OutboundConnection) -> None:
        """Remove a closed connection."""


class OutboundConnection(asyncio.Protocol):
    """One connection; `opened` gives None when it is ready, or (PENDING or FAILED, reply) when it was refused or lost before."""

    __slots__ = (
        "_attempt", "_client", "_deadline", "_limits", "_loop", "_next_hop", "_owner", "_paused", "_replies", "_secured", "_started",
        "_timer", "_timer_at", "_timers", "_tls", "_transport", "_used", "host", "opened", "peer",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        owner: Owner,
        *,
        secured: Secured,
        next_hop: str,
        host: Host,
        peer: str,
        limits: TimeLimits,
        timers: Timers,
    ) -> None:
        self.opened: asyncio.Future[tuple[RecipientState, str] | None] = loop.create_future()
        self.host = host
        self.peer = peer
        self._loop = loop
        self._owner = owner
        self._secured = secured
        self._client = secured.client
        self._next_hop = next_hop
        self._limits = limits
        self._timers = timers
        self._transport: asyncio.Transport | None = None
        self._attempt: Attempt | None = None
        self._started = self._timer_at = self._deadline = 0.0
        self._tls: TlsFacts | None = None
        self._used = self._paused = False
        self._replies = 0
        self._timer: int | None = None

    @property
    def ready(self) -> bool:
        """An attempt may begin."""
        return self._client.step in (READY, DONE)

    @property
    def offers(self) -> Offers | None:
        """What the next hop offers; None before it has said so."""
        offered = self._client.offers
        return None if offered is None else Offers(offered[0], offered[1], offered[2] or 0, offered[3])

    def mark(self, mark: str) -> None:
        """Put this before the reverse-path of the attempts that begin from now on."""
        self._client.mark(mark)

    def begin(self, attempt: Attempt) -> bool:
        """Begin an attempt; return False when it is over already because nothing of it can be sent."""
        self._attempt = attempt
        self._started = clock.monotonic()
        step = self._client.begin(attempt.message, attempt.indexes)
        if step is DONE:
            self._finish()
            return False
        self._write()
        if step is CLOSED:
            self._close()  # the session has had as many domains as it may
        else:
            self._watch()
        return True

    def quit(self) -> None:
        """End an idle connection with QUIT (RFC 5321 4.1.1.10)."""
        self._client.quit()
        self._write()
        self._watch()

    def end(self, cause: str) -> None:
        """Give up, deferring the attempt that runs; what is still to be written is thrown away."""
        self._client.end(cause)
        # Not close(): it would write the rest, and a final dot after the recipients were deferred delivers twice.
        if self._transport is not None:
            self._transport.abort()
        self._close(again=False)

    # --- calls of the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; the next hop speaks first, unless a TLS handshake does."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        if self._secured.implicit:
            self._start_tls()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Pass what was received to the machine and follow its step."""
        sending = self._client.step is MORE
        step = self._client.receive(data)
        if step is DONE:
            self._done()
            return
        if not (sending and step is MORE):
            self._write()
        if step is READY:
            self._tls = self._client.tls
            self._open(None)
        elif step is START_TLS:
            self._start_tls()
        elif step is MORE and not sending:
            self._loop.call_soon(self._pump)
        elif step is CLOSED:
            self._close()
            return
        if self._client.replies != self._replies:
            # A part of a reply is no progress, or a next hop could hold us for ever an octet at a time.
            self._replies = self._client.replies
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Settle what was running and notify the pool."""
        if self._client.step is not CLOSED:
            if exc is not None and self._attempt is not None:
                self._client.receive(self._last_words())
            self._client.end("Connection lost")
            self._close()
        if self._timer is not None:
            self._timers.cancel(self._timer)
            self._timer = None
        self._owner.lost(self)

    def pause_writing(self) -> None:
        """Stop reading the content file."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on with the content file."""
        self._paused = False
        if self._client.step is MORE:
            self._pump()

    # --- steps of the machine ---

    def _write(self) -> None:
        output = self._client.output()
        if output and self._transport is not None:
            self._transport.write(output)

    def _start_tls(self) -> None:
        if self._secured.handshakes is not None:
            self._secured.handshakes.begin(self._client, self.host.name)
            self._write()

    def _pump(self) -> None:
        """Write one chunk of a content file; others get their turn before the next."""
        if self._paused or self._client.step is not MORE:
            return
        self._write()
        step = self._client.step
        if step is MORE:
            self._loop.call_soon(self._pump)
        elif step is CLOSED:
            self._close()
            return
        self._watch()

    def _last_words(self) -> bytes:
        """Return what the next hop sent before it reset the connection.

        Writing may fail before its refusal of the content was read.
        """
        connected = self._transport.get_extra_info("socket") if self._transport is not None else None
        try:
            return os.read(connected.fileno(), LAST_WORDS) if connected is not None else b""
        except OSError:
            return b""

    def _done(self) -> None:
        """Give the connection back, unless a part of the content has not left: the next hop would read the rest as commands."""
        self._finish()
        if self._transport is not None and self._transport.get_write_buffer_size():
            self.end("Refused before the end of data")
            return
        self._owner.free(self)
        if self.ready:
            # Idle now; had the next begun, a short limit in between would move the timer twice a message.
            self._watch()

    def _finish(self) -> None:
        """Hand out what became of the attempt, if one was running."""
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return
        seconds = clock.monotonic() - self._started
        record = AttemptRecord(
            next_hop=self._next_hop,
            peer=self.peer,
            reused=self._used,
            seconds=seconds,
            tls=self._tls,
            host=self.host.found_as,
        )
        self._used = True
        outcomes = self._client.outcomes()
        if len(outcomes) < len(attempt.indexes):
            self._owner.again(rest_of(attempt, outcomes, record))
            return
        # Through the loop: what the receiver does cannot break or reorder what happens here.
        self._loop.call_soon(attempt.finished, outcomes, record)

    def _open(self, refusal: tuple[RecipientState, str] | None) -> None:
        # It may be done (ready before) or cancelled (nobody waits any more).
        if not self.opened.done():
            self.opened.set_result(refusal)

    def _close(self, *, again: bool = True) -> None:
        """Settle, the machine being closed, and let the transport write the rest and close.

        `again`: hosts drop kept connections when they like; then the attempt may go over another one at once.
        """
        self._open(self._client.refusal)
        if again and self._attempt is not None and self._used and self._client.untouched:
            attempt, self._attempt = self._attempt, None
            self._client.outcomes()
            self._owner.again(attempt)
        self._finish()
        if self._transport is not None:
            self._transport.close()
            self._watch()

    # --- time ---

    def _watch(self) -> None:
        """Set the time limit of the current stage. The timer is only moved when it would come too late."""
        seconds = self._limits[self._client.time_limit]
        self._deadline = clock.monotonic() + seconds
        if self._timer is None or self._deadline < self._timer_at:
            self._arm(seconds)

    def _arm(self, seconds: float) -> None:
        if self._timer is not None:
            self._timers.cancel(self._timer)
        self._timer_at = clock.monotonic() + seconds
        self._timer = self._timers.after(seconds, self)

    def due(self) -> None:
        """Act if the time limit has passed."""
        self._timer = None
        left = self._deadline - clock.monotonic()
        if left > 0:
            self._arm(left)
        elif self.ready:
            self.quit()
        else:
            self.end("Timed out")
