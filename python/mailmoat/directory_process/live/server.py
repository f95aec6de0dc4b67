"""The directory process's side of live lookups: the listening socket, and a connection for each worker.

Promises: the socket is for the account of the server and root alone. A connection that sends anything but lookups is closed; one that
does not take its answers, or asks more than `MOST` at a time, is not read on until it does. A connection that ended costs nothing more than the lookups
that are on their way. What fails in a lookup is UNKNOWN.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final, cast

from mailmoat._native import Address
from mailmoat.directory.live.wire import LONGEST_REQUEST, UNKNOWN, FrameError, Frames, answer, greeting, read_request
from mailmoat.net.unix_socket import account_of, listen

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat.directory.live.wire import LiveReply, Request
    from mailmoat.directory_process.live.lookups import LiveLookups

MOST: Final = 20_000
"""Lookups of one connection on their way; beyond that it is not read on."""
MOST_CONNECTIONS: Final = 512
"""Workers of two generations, and commands; the oldest gives way."""
WRITE_BUFFER: Final = 256 * 1024


class LiveServer:
    """Answers lookups on the socket at `path`, from the sources whose settings have this digest."""

    def __init__(self, path: Path, digest: str, lookups: LiveLookups) -> None:
        self._path, self.digest, self.lookups = path, digest, lookups
        self._server: asyncio.Server | None = None
        self.open: dict[LiveConnection, None] = {}

    async def start(self) -> None:
        """Listen; OSError where that is not possible. A socket that is left from before is replaced."""
        loop = asyncio.get_running_loop()
        listener = listen(self._path, MOST_CONNECTIONS)
        self._server = await loop.create_unix_server(lambda: LiveConnection(self, loop), sock=listener)

    async def close(self) -> None:
        """Listen no more, end the connections, and give up what runs."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self.open):
            connection.end()
        await self.lookups.close()


class LiveConnection(asyncio.Protocol):
    """One worker."""

    def __init__(self, server: LiveServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server, self._loop = server, loop
        self._frames = Frames(LONGEST_REQUEST)
        self._running: set[asyncio.Task[None]] = set()
        self._is_full = self._is_deaf = False
        self._answers: list[bytes] = []
        """Those of this turn of the loop: one write for all, as each wakes the worker."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve it, if it is of this account or root's."""
        self._transport = cast("asyncio.Transport", transport)
        if account_of(transport.get_extra_info("socket")) not in {0, os.geteuid()}:
            self.end()
            return
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self._server.open[self] = None
        self._transport.write(greeting(self._server.digest))
        if len(self._server.open) > MOST_CONNECTIONS:
            next(iter(self._server.open)).end()

    def data_received(self, data: bytes) -> None:
        """Answer what can be said at once, and begin the other lookups."""
        try:
            for number, content in self._frames.feed(data):
                self._take(number, read_request(content))
        except FrameError:
            self.end()

    def pause_writing(self) -> None:
        """Stop reading lookups: the worker does not read its answers."""
        self._is_deaf = True
        self._follow()

    def resume_writing(self) -> None:
        """Read on."""
        self._is_deaf = False
        self._follow()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Give up its lookups; what others ask as well goes on."""
        self._server.open.pop(self, None)
        for task in self._running:
            task.cancel()

    def end(self) -> None:
        """Close it."""
        self._transport.abort()

    def _take(self, number: int, asked: Request) -> None:
        try:
            address = Address.parse(asked.address)
        except ValueError:
            self._write(number, UNKNOWN)
            return
        if asked.refusal:
            self._server.lookups.refused_late(address, asked.refusal)
            return
        known = self._server.lookups.known(address)
        if known is not None:
            self._write(number, known)
            return
        task = self._loop.create_task(self._ask(number, address, asked.client))
        self._running.add(task)
        task.add_done_callback(self._done)
        if len(self._running) >= MOST:
            self._is_full = True
            self._follow()

    async def _ask(self, number: int, address: Address, client: str) -> None:
        reply = UNKNOWN
        try:
            reply = await self._server.lookups.ask(address, client)
        finally:
            self._write(number, reply)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A bug here: the worker already has its answer, UNKNOWN.
            self._loop.call_exception_handler({"message": "a live lookup failed", "exception": error})
        if self._is_full and len(self._running) < MOST // 2:
            self._is_full = False
            self._follow()

    def _write(self, number: int, reply: LiveReply) -> None:
        if not self._answers:
            self._loop.call_soon(self._flush)
        self._answers.append(answer(number, reply))

    def _flush(self) -> None:
        answers, self._answers = self._answers, []
        if not self._transport.is_closing():
            self._transport.write(b"".join(answers))

    def _follow(self) -> None:
        """Read, or do not."""
        if self._transport.is_closing():
            return
        if self._is_full or self._is_deaf:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
