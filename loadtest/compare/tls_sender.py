"""The client of the case `tls`: connections by STARTTLS, with a full handshake or a resumed session, and messages over them.

`python -m loadtest.compare.tls_sender --port 2525 --mode full --count 2000`
Modes: `full` and `resumed` (connect, EHLO, STARTTLS, EHLO, QUIT), `messages` (pipelined, connections reused). `idle` and `half-open`
open all connections, print `asked` when each is where it shall be, and close them when standard input ends: after EHLO in TLS, or
after the 220 to STARTTLS with `--hello` octets of a ClientHello sent. Certificates are not verified. Ends with an error for any reply
that was not expected.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import ssl
import sys
from functools import partial
from typing import TYPE_CHECKING, cast

import uvloop

from loadtest.compare.sender import HELLO, LIMIT, Client, Pipelined, Replies, Work
from loadtest.content import stuffed

if TYPE_CHECKING:
    from collections.abc import Callable

CLEAR = (b"220", b"250", b"220")
"""Replies before the handshake: greeting, EHLO, STARTTLS."""
RECORD = b"\x16\x03\x01\x20\x00\x01\x00\x1f\xfc\x03\x03"
"""The beginning of a ClientHello of 8 KiB."""


def context() -> ssl.SSLContext:
    """Return what all connections of the client share."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


class StartTls(asyncio.Protocol):
    """A connection that goes to TLS, and carries a `Client` there."""

    def __init__(self, shared: ssl.SSLContext, inner: Client, session: ssl.SSLSession | None = None) -> None:
        self._shared = shared
        self._session = session
        self._inner = inner
        self._replies = Replies()
        self._said = 0
        self._tls: ssl.SSLObject | None = None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._open = False

    @property
    def session(self) -> ssl.SSLSession | None:
        """What the next connection can resume."""
        return self._tls.session if self._tls else None

    @property
    def resumed(self) -> bool:
        """Whether the handshake was a short one."""
        return bool(self._tls and self._tls.session_reused)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the greeting."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Speak in clear up to STARTTLS, then in TLS."""
        if self._tls is None:
            for code in self._replies.feed(data):
                self._clear(code)
        else:
            self._in.write(data)
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail unless the end was reached."""
        self._inner.connection_lost(exc)

    def write(self, octets: bytes) -> None:
        """Send in TLS."""
        if self._tls is not None:
            self._tls.write(octets)
            self._flush()

    def close(self) -> None:
        """Close."""
        self._transport.close()

    def _clear(self, code: bytes) -> None:
        if code != CLEAR[self._said]:
            self._inner.work.fail(f"unexpected reply {code!r}")
            return
        self._said += 1
        if self._said < len(CLEAR):
            self._transport.write((HELLO, b"STARTTLS\r\n")[self._said - 1])
        else:
            self.begin()

    def begin(self) -> None:
        """Begin the handshake."""
        self._tls = self._shared.wrap_bio(self._in, self._out, session=self._session)
        self._go_on()

    def _go_on(self) -> None:
        tls = cast("ssl.SSLObject", self._tls)
        try:
            if not self._open:
                tls.do_handshake()
                self._open = True
                self._flush()
                self._inner.transport = cast("asyncio.Transport", self)
                self._inner.expected = []
                self._inner.hello()
            while octets := tls.read(65_536):
                self._inner.data_received(octets)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._inner.work.fail(str(error))
        self._flush()

    def _flush(self) -> None:
        if octets := self._out.read():
            self._transport.write(octets)


class Visit(Client):
    """EHLO and QUIT; `left` is called when the server has said goodbye."""

    def __init__(self, work: Work, left: Callable[[], None]) -> None:
        super().__init__(work)
        self._left = left

    def begin(self) -> None:
        """Leave after EHLO."""
        self.say(b"QUIT\r\n", b"221")
        self.step = self._left


class Stay(Client):
    """EHLO, and nothing more."""

    def begin(self) -> None:
        """Count a session that is there."""
        self.work.end()


class HalfOpen(StartTls):
    """STARTTLS, and a handshake that never ends."""

    hello = b""

    def begin(self) -> None:
        """Send what there is of a ClientHello."""
        self._transport.write(self.hello)
        self._inner.work.end()


class Visitor:
    """One client that comes again and again, with a full handshake each time or with what it was given last."""

    def __init__(self, work: Work, shared: ssl.SSLContext, port: int, *, resumes: bool) -> None:
        self._work = work
        self._shared = shared
        self._port = port
        self._resumes = resumes
        self._session: ssl.SSLSession | None = None
        self._now: StartTls | None = None
        self._first = True

    def come(self) -> None:
        """Connect, if another connection is wanted; a first one that is there to be resumed is not counted."""
        counted = not (self._resumes and self._first)
        if not counted or self._work.take():
            self._now = StartTls(self._shared, Visit(self._work, self._left), self._session)
            self._opening = asyncio.ensure_future(self._open(self._now))

    async def _open(self, connection: StartTls) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", self._port)
        except OSError as error:
            self._work.fail(str(error))

    def _left(self) -> None:
        now = cast("StartTls", self._now)
        if self._resumes:
            if not self._first and not now.resumed:
                self._work.fail("the server did not resume the session")
            if self._first:
                # Each further one would cost the client a copy, and the client is what is short of time.
                self._session = now.session
        if not (self._resumes and self._first):
            self._work.end()
        self._first = False
        now.close()
        self.come()


async def visit(port: int, units: int, sessions: int, *, resumes: bool) -> None:
    """Make so many connections."""
    work, shared = Work(units), context()
    for _ in range(min(sessions, units)):
        Visitor(work, shared, port, resumes=resumes).come()
    await asyncio.wait_for(work.done, LIMIT)


async def messages(port: int, units: int, sessions: int) -> None:
    """Send so many messages, pipelined."""
    work, shared, loop = Work(units), context(), asyncio.get_running_loop()
    made = [
        loop.create_connection(lambda: StartTls(shared, Pipelined(work)), "127.0.0.1", port)
        for _ in range(min(sessions, units))
    ]
    await asyncio.gather(*made)
    await asyncio.wait_for(work.done, LIMIT)


async def stay(port: int, sessions: int, kind: Callable[[Work, ssl.SSLContext], StartTls]) -> None:
    """Open so many connections, say when all are there, and close them when standard input ends."""
    work, shared, loop = Work(sessions), context(), asyncio.get_running_loop()
    transports = []
    for begun in range(0, sessions, 100):
        made = [
            loop.create_connection(lambda: kind(work, shared), "127.0.0.1", port)
            for _ in range(min(100, sessions - begun))
        ]
        transports += [transport for transport, _ in await asyncio.gather(*made)]
    await asyncio.wait_for(work.done, LIMIT)
    print("asked", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    for transport in transports:
        transport.abort()


def main() -> None:
    """Run with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--mode", choices=("full", "resumed", "messages", "idle", "half-open"), required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--hello", type=int, default=0)
    options = parser.parse_args()
    Pipelined.content = stuffed(options.size)
    HalfOpen.hello = (RECORD + bytes(8192))[: options.hello]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.disable()
    work = {
        "full": partial(visit, options.port, options.count, options.sessions, resumes=False),
        "resumed": partial(visit, options.port, options.count, options.sessions, resumes=True),
        "messages": partial(messages, options.port, options.count, options.sessions),
        "idle": partial(stay, options.port, options.count, lambda work, shared: StartTls(shared, Stay(work))),
        "half-open": partial(stay, options.port, options.count, lambda work, shared: HalfOpen(shared, Stay(work))),
    }[options.mode]
    try:
        uvloop.run(work())
    except (OSError, RuntimeError, TimeoutError) as error:
        sys.exit(f"{options.mode}: {error!r}")


if __name__ == "__main__":
    main()
