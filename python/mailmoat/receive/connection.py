"""A connection: carries octets between a transport and the driver of its session, and decides when to read.

Promises: what the peer pipelines while its session is held or a question is open is kept up to `limits.held_input` and one read more,
and then not read; nor is a peer that does not take its replies. A peer that closes its sending side still gets every reply to what it
sent completely, and then the connection is closed. One turn of the loop reads a few buffers of a connection and works on so many
commands; then the others have theirs. One that does not take the last reply is aborted. With the PROXY protocol its header comes
first, from a host that may send it. Never looks at what a session says.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from mailmoat import clock, maillog
from mailmoat.events import Event
from mailmoat.net.address import peer_address
from mailmoat.net.proxy import BadProxyHeader, ProxyHeader
from mailmoat.policy.client import Client
from mailmoat.receive import timeouts
from mailmoat.receive.driver import Driver
from mailmoat.receive.intake import CLOGGED, TURN, Intake

if TYPE_CHECKING:
    from mailmoat.receive.receiver import Receiver
    from mailmoat.receive.wire import Wire
    from mailmoat.settings import Listener


class Connection(asyncio.BufferedProtocol):
    """One TCP connection of a worker, made to one of its listeners."""

    __slots__ = ("_buffer", "_driver", "_listener", "_proxy", "_receiver", "_started", "_timer", "_transport", "intake")

    def __init__(self, receiver: Receiver, listener: Listener) -> None:
        self._receiver = receiver
        self._buffer = receiver.input
        self._listener = listener
        self._proxy = ProxyHeader() if listener.proxy else None
        self._driver: Driver | None = None
        self._timer = 0

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the session, or wait for the PROXY header first."""
        self._transport = cast("asyncio.Transport", transport)
        self.intake = Intake(self._transport, self._receiver.timers)
        self._started = clock.monotonic()
        peer = self._peer()
        self._receiver.opened(self)
        if self._proxy is None:
            self._begin(peer)
        elif self._receiver.may_speak_proxy(peer):
            self._timer = self._receiver.timers.after(timeouts.PROXY, self)
        else:
            if peer:  # else it was reset before it was accepted, as checks of a balancer are
                maillog.event(Event.PROXY_REFUSED, client=peer)
            self._transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the protocol's signature
        """Give a buffer of the worker: what is read is taken out of it before anything else is read."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand octets to the session."""
        buffer, driver = self._buffer, self._driver
        octets = buffer[:nbytes]
        if driver is None:
            self._read_proxy(bytes(octets))
            return
        is_full, session = nbytes == len(buffer), driver.session
        if is_full and (session.in_content or self.intake.filled()):
            self.take_turns()  # what there is more waits in the kernel until the others had their turn
        driver.receive(octets)
        if is_full or buffer is not self._receiver.input:
            self._buffer = self._receiver.content_input if session.in_content else self._receiver.input

    def eof_received(self) -> bool:
        """Keep the connection of a peer that has closed its sending side until it has the replies to all its input."""
        driver = self._driver
        if driver is None:
            return False
        self.intake.end()
        driver.input_ended()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """End the session, and free what the connection has."""
        driver, self._driver = self._driver, None
        self._receiver.timers.cancel(self._timer)
        self._receiver.closed(self)
        if driver is None:
            self._receiver.give_back(b"")
        else:
            driver.lost()

    def pause_writing(self) -> None:
        """Stop reading from a peer that does not read its replies."""
        self.intake.stop(CLOGGED)

    def resume_writing(self) -> None:
        """Continue the session of a peer that reads again."""
        self.intake.go_on(CLOGGED)
        self.take_turns()

    # The worker's side.

    def due(self) -> None:
        """Close the connection: the PROXY header did not arrive, or the last reply was not read."""
        self._timer = 0
        self._transport.abort()

    def make_way_if_slow(self, window: float) -> None:
        """Close a connection whose content has come too slowly for so many seconds."""
        if self._driver is not None:
            self._driver.make_way_if_slow(window)

    def drain(self, *, at_once: bool) -> None:
        """End the session because the worker ends: between transactions, or `at_once` at any point."""
        if self._driver is None:
            self._transport.abort()
        else:
            self._driver.drain(at_once=at_once)

    # The driver's side.

    @property
    def is_closing(self) -> bool:
        """Nothing is read or written any more."""
        return self._transport.is_closing()

    def write(self, octets: bytes) -> None:
        """Send octets."""
        self._transport.write(octets)

    def take_turns(self) -> None:
        """Let the other connections have their turn before this one has another."""
        if not self.intake.stops_for(TURN):
            self.intake.stop(TURN)
            self._receiver.loop.call_soon(self._take_turn)

    def give_way(self) -> None:
        """Let all connections come first whose sessions make progress."""
        if not self.intake.stops_for(TURN):
            self.intake.stop(TURN)
            self._receiver.last_turns.add(self._take_turn)

    def close(self) -> None:
        """Close once the peer has read what is written, and soon in any case."""
        self._transport.close()
        self._timer = self._receiver.timers.after(timeouts.LINGER, self)

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # Inside.

    def _peer(self) -> str:
        return peer_address(self._transport.get_extra_info("peername"))

    def _begin(self, address: str, *, early: bool = False) -> Driver | None:
        """Open the session; None where its client is refused, without a session. `early`: there is input behind the PROXY header."""
        client = Client(address, self._listener, self._receiver.trust.of(address))
        if self._listener.submission and (refusal := self._receiver.guessers.refusal(client)) is not None:
            self._transport.write(refusal)
            self.close()
            return None
        early = early or self._receiver.early_talkers.has_talked(self._transport, client)
        self._driver = driver = Driver(self._receiver, self, client, self._started)
        driver.begin(early=early)
        return driver

    def _read_proxy(self, octets: bytes) -> None:
        header = cast("ProxyHeader", self._proxy)
        result = header.feed(octets)
        if result is None:
            return
        if isinstance(result, BadProxyHeader):
            maillog.event(Event.PROXY_MALFORMED, client=self._peer(), detail=result.reason)
            self._transport.abort()
            return
        self._receiver.timers.cancel(self._timer)
        self._timer = 0
        self._proxy = None
        driver = self._begin(result.source[0] if result.source else self._peer(), early=bool(result.rest))
        if driver is not None and result.rest and not self._transport.is_closing():
            driver.receive(result.rest)

    def _take_turn(self) -> None:
        """Go on with what the session has kept; one whose peer does not take its replies waits for that."""
        self.intake.go_on(TURN)
        driver = self._driver
        if driver is None or self._transport.is_closing():
            return
        if self.intake.stops_for(CLOGGED):
            driver.wait_for_room()
        elif driver.session.buffered or self.intake.ended:
            driver.proceed()


if TYPE_CHECKING:

    def _is_wire(connection: Connection) -> Wire:
        return connection
