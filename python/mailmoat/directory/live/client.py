"""The worker's side of live lookups: one connection to the directory process, and all lookups of this worker on it.

Promises: a lookup never raises and never waits for more than its time; whatever happens to the directory process, the answer is UNKNOWN
then, never ABSENT. Thousands of lookups can be on their way; each costs a number and a future, no timer, no task and no thread. One client
has no more of them than a part of what is left, so that there is room for the others: one more is UNKNOWN at once.
The directory process says first which sources it has. One with other sources, as before a reload has ended, is asked nothing: what
they do not have may exist. A connection that is lost is made again, at longer and longer intervals. Lookups wait for that for `GRACE`, as a process that ended is
started again at once, and are sent anew; after that they are UNKNOWN at once, until the process is back.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from mailmoat import clock
from mailmoat.directory.directory import Presence
from mailmoat.directory.live.wire import (
    LONGEST_ANSWER,
    NUMBERS,
    UNKNOWN,
    FrameError,
    Frames,
    LiveReply,
    read_answer,
    request,
)
from mailmoat.directory.pause import pause
from mailmoat.growing_pause import next_pause
from mailmoat.metrics import Family, single
from mailmoat.net.address import site
from mailmoat.net.unix_socket import short_path
from mailmoat.upstream.deadlines import Deadlines

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from mailmoat._native import Address
    from mailmoat.metrics import Metrics

    Connect = Callable[[Callable[[], asyncio.Protocol]], Awaitable[tuple[asyncio.Transport, object]]]

MOST: Final = 20_000
"""Lookups on their way at a time; one more is UNKNOWN."""
SHARE: Final = 10
"""A client may have the tenth part of the lookups that are left."""
GRACE: Final = 2.0
"""Seconds that lookups wait for a directory process that is away."""
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
"""Seconds between two attempts to connect."""

ANSWERS: Final = Family(
    "mailmoat_directory_live_answers_total", "Answers to live lookups of recipients.", {"answer": Presence}
)
UNANSWERED: Final = single(
    "mailmoat_directory_live_unanswered_total",
    "Live lookups of recipients that the directory process did not answer; unknown.",
)
IN_FLIGHT: Final = single("mailmoat_directory_live_lookups", "Live lookups of recipients on their way now.")


class _Lookup(NamedTuple):
    text: str
    client: str
    limit: int
    """In the deadlines."""
    reply: asyncio.Future[LiveReply]


class LiveClient:
    """The lookups of one worker; `path` is that of the socket, `digest` that of the sources, `seconds` the time for an answer."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        path: Path,
        digest: str,
        seconds: float,
        *,
        metrics: Metrics | None = None,
        connect: Connect | None = None,
    ) -> None:
        self._loop, self._path, self._metrics = loop, path, metrics
        self.digest = digest
        self.differs = False
        """The directory process that was there last has other sources."""
        self._connect = connect or self._connect_unix
        self._waiting: dict[int, _Lookup] = {}
        """By number."""
        self._of_client: Counter[str] = Counter()
        """How many of them each client has."""
        self._number = 0
        self._limits = Deadlines(seconds, loop)
        """When a lookup is given up."""
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        """Frames of this turn of the loop: one write for all, as each wakes the directory process."""
        self._connecting: asyncio.Task[None] | None = None
        self._lost_at: float | None = None
        """Since when there is no connection, while lookups still wait for one; None with a connection, and when they do not wait any more."""
        self._closed = False

    def start(self) -> None:
        """Connect, and connect again whenever that is needed, until `close`."""
        self._lost()

    def close(self) -> None:
        """Answer what waits with UNKNOWN, and ask no more."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        self._give_up()

    def lookup(self, address: Address, client: str = "") -> asyncio.Future[LiveReply]:
        """Ask about a normalised address; the future has a value in any case, in time. See `Directory` for the client."""
        reply: asyncio.Future[LiveReply] = self._loop.create_future()
        client = site(client)
        if self._closed or not self._has_room(client) or (self._transport is None and self._lost_at is None):
            self._unanswered(reply)
            return reply
        number = self._number = (self._number + 1) % NUMBERS
        text = str(address)
        try:
            frame = request(number, text, client)
        except ValueError:
            self._unanswered(reply)
            return reply
        self._waiting[number] = _Lookup(text, client, self._limits.begin(partial(self._expire, number)), reply)
        if client:
            self._of_client[client] += 1
        if self._transport is not None:
            self._send(frame)
        return reply

    def refused(self, address: str, reply: str) -> None:
        """Say that a next hop has refused a message for an address, if the directory process can be told now."""
        if self._transport is not None:
            with suppress(ValueError):
                self._send(request(0, address, refusal=reply))

    def publish(self) -> None:
        """Set this worker's gauge."""
        if self._metrics is not None:
            self._metrics.set(IN_FLIGHT, len(self._waiting))

    # --- calls of the connection ---

    def made(self, transport: asyncio.Transport) -> None:
        """Ask what waits on a new connection."""
        if self._closed:
            transport.abort()
            return
        self._transport, self._lost_at, self.differs = transport, None, False
        for number, asked in self._waiting.items():
            self._send(request(number, asked.text, asked.client))

    def answered(self, number: int, reply: LiveReply) -> None:
        """Take an answer; one that nobody waits for any more is ignored."""
        asked = self._waiting.pop(number, None)
        if asked is None:
            return
        self._limits.end(asked.limit)
        self._forget(asked)
        if not asked.reply.done():
            asked.reply.set_result(reply)
        if self._metrics is not None:
            self._metrics.add(ANSWERS[reply.presence])

    def ended(self, transport: asyncio.Transport) -> None:
        """Connect again."""
        if transport is self._transport:
            self._transport, self._unsent = None, []
            if not self._closed:
                self._lost()

    def _send(self, frame: bytes) -> None:
        """Write a frame to the connection there is, with the others of this turn."""
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(frame)

    def _flush(self) -> None:
        frames, self._unsent = self._unsent, []
        if self._transport is not None and frames:
            self._transport.write(b"".join(frames))

    # --- connecting ---

    def _lost(self) -> None:
        self._lost_at = clock.monotonic()
        self._connecting = self._loop.create_task(self._reconnect())

    async def _reconnect(self) -> None:
        seconds = 0.0
        while not self._closed:
            with suppress(OSError):
                if await self._greeted():
                    return
            if self._lost_at is not None and clock.monotonic() >= self._lost_at + GRACE:
                self._lost_at = None
                self._give_up()
            seconds = next_pause(seconds, FIRST_PAUSE, LONGEST_PAUSE)
            await pause(seconds)

    async def _greeted(self) -> bool:
        """Connect, and return whether it is a directory process with our sources. OSError when there is none."""
        greeted: asyncio.Future[bool] = self._loop.create_future()
        transport, _ = await self._connect(partial(_Connection, self, greeted))
        try:
            return await greeted
        finally:
            if transport is not self._transport:
                transport.abort()

    async def _connect_unix(self, factory: Callable[[], asyncio.Protocol]) -> tuple[asyncio.Transport, object]:
        with short_path(self._path) as path:
            return await self._loop.create_unix_connection(factory, path)

    # --- without an answer ---

    def _expire(self, number: int) -> None:
        """Give up a lookup that has waited long enough."""
        asked = self._waiting.pop(number)
        self._forget(asked)
        self._unanswered(asked.reply)

    def _give_up(self) -> None:
        """Give up all."""
        self._limits.end_all()
        waiting, self._waiting = self._waiting, {}
        self._of_client.clear()
        for asked in waiting.values():
            self._unanswered(asked.reply)

    # --- room ---

    def _has_room(self, client: str) -> bool:
        left = MOST - len(self._waiting)
        return left > 0 and (not client or self._of_client.get(client, 0) < max(1, left // SHARE))

    def _forget(self, asked: _Lookup) -> None:
        """Count one lookup less of its client."""
        if asked.client:
            self._of_client[asked.client] -= 1
            if not self._of_client[asked.client]:
                del self._of_client[asked.client]

    def _unanswered(self, reply: asyncio.Future[LiveReply]) -> None:
        if not reply.done():
            reply.set_result(UNKNOWN)
        if self._metrics is not None:
            self._metrics.add(UNANSWERED)


class _Connection(asyncio.Protocol):
    """The connection to the directory process."""

    def __init__(self, client: LiveClient, greeted: asyncio.Future[bool]) -> None:
        self._client, self._greeted = client, greeted
        self._frames = Frames(LONGEST_ANSWER)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the greeting."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take the greeting, and then answers; end a connection that gives anything else."""
        try:
            for number, content in self._frames.feed(data):
                if self._greeted.done():
                    self._client.answered(number, read_answer(content))
                elif not self._greet(content):
                    return
        except FrameError:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Forget it."""
        if not self._greeted.done():
            self._greeted.set_result(False)
        self._client.ended(self._transport)

    def _greet(self, content: bytes) -> bool:
        """Take the connection into use, if it is to a process with our sources."""
        is_ours = content == self._client.digest.encode()
        self._greeted.set_result(is_ours)
        if is_ours:
            self._client.made(self._transport)
        else:
            self._client.differs = True
        return is_ours
