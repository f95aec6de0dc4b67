"""One connection to Dovecot's authentication service, for all exchanges of a worker at once.

Promises: at most `MOST_OPEN` requests wait, and a bounded number of octets; a line that is too long or breaks the protocol ends the
connection, and so do an answer to no request, for one that waits for it would wait in vain, and a service that says nothing for
`ANSWER_TIME`; the requests that wait then fail. Never blocks the loop.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from mailmoat.auth import dovecot_wire as wire
from mailmoat.auth.dovecot_wire import Continued

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mailmoat.auth.dovecot_wire import Reply

CONNECT_TIME: Final = 5.0
"""Seconds for the connection and all that is said at its beginning."""
ANSWER_TIME: Final = 30.0
"""Seconds. Dovecot itself delays failures by 2 to 17."""
MOST_OPEN: Final = 256
MOST_UNSENT: Final = 1 << 20
"""Octets that the service has not taken yet."""
MOST_MECHANISMS: Final = 64
MOST_UNANSWERED: Final = 4096
"""Requests without a last answer, those that were let go of among them: an answer to one of them is none to another."""
CLOSED: Final = "the connection was closed"
ANOTHER_PROTOCOL: Final = "it does not keep to Dovecot's protocol 1"


class LostError(Exception):
    """The connection is no more, or there is none."""


class FullError(Exception):
    """So many requests wait that another one may not."""


class DovecotConnection(asyncio.Protocol):
    """A connection; `mechanisms` are those that the service offers, the strongest first."""

    def __init__(self, lost: Callable[[DovecotConnection], None]) -> None:
        self.mechanisms: tuple[str, ...] = ()
        self._when_lost = lost
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._offered: list[str] = []
        self._open: dict[int, asyncio.Future[Reply]] = {}
        self._unanswered: dict[int, None] = {}
        self.end = CLOSED
        """Why it ended, for the log."""
        self._last = 0
        self._heard = 0
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._greeted = False
        self._offers = False

    @classmethod
    async def make(cls, path: Path, lost: Callable[[DovecotConnection], None]) -> DovecotConnection:
        """Connect, and learn what is offered. OSError, TimeoutError and LostError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_TIME):
            _, made = await loop.create_unix_connection(lambda: cls(lost), str(path))
            try:
                await made._ready  # noqa: SLF001 - its own
            except BaseException:
                made.close()
                raise
        return made

    @property
    def alive(self) -> bool:
        """Whether a request can be made."""
        return self._transport is not None

    def close(self) -> None:
        """End it; the requests that wait fail."""
        if self._transport is not None:
            self._transport.abort()

    def next_number(self) -> int:
        """Return a number for a new request; LostError and FullError."""
        if self._transport is None:
            raise LostError
        if len(self._open) >= MOST_OPEN or self._transport.get_write_buffer_size() > MOST_UNSENT:
            raise FullError
        self._last = self._last % 0x7FFFFFFF + 1  # 32 bits
        return self._last

    async def ask(self, number: int, line: bytes) -> Reply:
        """Send a line of this request and return the answer; LostError."""
        if self._transport is None:
            raise LostError
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._open[number] = answer
        self._unanswered[number] = None
        if len(self._unanswered) > MOST_UNANSWERED:
            del self._unanswered[next(iter(self._unanswered))]
        self._transport.write(line)
        heard = self._heard
        try:
            async with asyncio.timeout(ANSWER_TIME):
                return await answer
        except TimeoutError:
            if heard == self._heard:
                self.close()
            raise LostError from None
        finally:
            del self._open[number]
            if not answer.done() or answer.cancelled():
                self.cancel(number)

    def cancel(self, number: int) -> None:
        """Let go of a request that is not over."""
        if self._transport is not None:
            self._transport.write(wire.cancel(number))

    # --- what the loop calls ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # what it is
        """Introduce ourselves."""
        self._transport = transport
        transport.write(wire.opening(os.getpid()))

    def data_received(self, data: bytes) -> None:
        """Take whole lines."""
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        try:
            for line in lines:
                self._take(bytes(line))
            if len(rest) > wire.LONGEST_LINE:
                self.close()
        except ValueError:
            self.end = ANOTHER_PROTOCOL
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Fail the requests that wait."""
        self._transport = None
        for answer in self._open.values():
            if not answer.done():
                answer.set_exception(LostError())
        if self._offers:
            self._when_lost(self)
        elif not self._ready.done():
            self._ready.set_exception(LostError())

    def _take(self, line: bytes) -> None:
        self._heard += 1
        words = wire.words_of(line)
        if not self._offers:
            self._begin(words)
        elif words[0] in {"CONT", "OK", "FAIL"}:
            number, reply = wire.reply(words)
            if number not in self._unanswered:
                raise ValueError("an answer to no request")
            if not isinstance(reply, Continued):
                del self._unanswered[number]
            answer = self._open.get(number)
            if answer is not None and not answer.done():
                answer.set_result(reply)

    def _begin(self, words: list[str]) -> None:
        """Take a line of what is said at the beginning."""
        self._greeted = self._greeted or wire.is_version(words)
        if words[0] == "MECH" and len(self._offered) < MOST_MECHANISMS:
            name = wire.mechanism_of(words)
            self._offered += [name] if name else []
        elif words[0] == "DONE":
            if not self._greeted:
                raise ValueError("no version")
            self.mechanisms, self._offers = wire.by_strength(self._offered), True
            if not self._ready.done():
                self._ready.set_result(None)
