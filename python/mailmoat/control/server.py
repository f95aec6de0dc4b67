"""The server's side of the control sockets: one in the directory of each partition that a worker owns, one of the directory process.

Promises: a request is bounded in octets and time, a connection has one, and there are at most `MOST` at the same time; the oldest gives way.
Whatever a request holds, it costs neither the worker nor another connection anything: what it asks for wrongly is an error in its answer.
A command whose connection has ended goes on to its own end.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

from mailmoat import maillog
from mailmoat.control.channel import MOST_ANSWER, MOST_REQUEST, NAME, TIME, ControlError, decode, encode
from mailmoat.events import Event
from mailmoat.net.unix_socket import listen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
    from pathlib import Path

    from mailmoat.control.channel import Document
    from mailmoat.runtime.timers import Timers

    Command = Callable[[Document], "Document | Awaitable[Document]"]

MOST: Final = 16


class Control:
    """The listening sockets of one process, what is connected to them, and the commands by name."""

    def __init__(self, loop: asyncio.AbstractEventLoop, commands: Mapping[str, Command], timers: Timers) -> None:
        self._loop = loop
        self.commands = commands
        self.timers = timers
        self.open: dict[ControlConnection, None] = {}
        self._running: set[asyncio.Task[None]] = set()
        """Kept so that they are not collected before their end."""
        self._servers: dict[Path, asyncio.AbstractServer | None] = {}
        """By directory; None where nothing can listen."""

    async def follow(self, directories: Collection[Path]) -> None:
        """Listen in these directories of partitions and in no other; where that fails, say so once in the log and go on without."""
        wanted = set(directories)
        for gone in self._servers.keys() - wanted:
            self._end(gone)
        for directory in wanted - self._servers.keys():
            self._servers[directory] = None
            try:
                listener = listen(directory / NAME, MOST)
            except OSError as error:
                maillog.event(Event.CONTROL_FAILED, detail=f"{directory / NAME}: {error.strerror}")
            else:
                made = await self._loop.create_unix_server(lambda: ControlConnection(self), sock=listener)
                self._servers[directory] = made

    def tick(self, directories: Collection[Path]) -> None:
        """Follow what has changed, now and then."""
        if self._servers.keys() != set(directories):
            self.go_on(self.follow(directories))

    def go_on(self, work: Coroutine[None, None, None]) -> None:
        """Run what cannot end at once."""
        task = self._loop.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def close(self) -> None:
        """Listen no more, remove the sockets, and end what is connected."""
        for directory in list(self._servers):
            self._end(directory)
        for connection in list(self.open):
            connection.due()

    def _end(self, directory: Path) -> None:
        server = self._servers.pop(directory)
        if server is not None:
            server.close()
            with suppress(OSError):  # the partition may be gone
                (directory / NAME).unlink(missing_ok=True)


class ControlConnection(asyncio.Protocol):
    """One request and its answer."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._input = b""
        self._timer = 0
        self._is_asked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give it its time, at the cost of the oldest when there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        self._timer = self._control.timers.after(TIME, self)
        self._control.open[self] = None
        if len(self._control.open) > MOST:
            next(iter(self._control.open)).due()

    def data_received(self, data: bytes) -> None:
        """Answer a request that is complete, or too long; ignore what follows it."""
        if self._is_asked:
            return
        self._input += data
        line, end, _ = self._input.partition(b"\n")
        if not end and len(self._input) < MOST_REQUEST:
            return
        self._is_asked = True
        try:
            result = self._run(line if end else b"")
        except ControlError as error:
            self._write({"error": str(error)})
            return
        if isinstance(result, dict):
            self._write({"ok": result})
            return
        self._control.go_on(self._answer_later(result))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Forget it."""
        self._control.timers.cancel(self._timer)
        self._control.open.pop(self, None)

    def due(self) -> None:
        """Close it: its time is over, or another needs its place."""
        self._transport.abort()

    def _run(self, line: bytes) -> Document | Awaitable[Document]:
        request = decode(line)
        name = request.pop("command", None)
        run = self._control.commands.get(name, _no_command) if isinstance(name, str) else _no_command
        return run(request)

    async def _answer_later(self, result: Awaitable[Document]) -> None:
        try:
            self._write({"ok": await result})
        except ControlError as error:
            self._write({"error": str(error)})

    def _write(self, document: Document) -> None:
        if self._transport.is_closing():
            return
        answer = encode(document)
        if len(answer) > MOST_ANSWER:
            answer = encode({"error": "the answer is too long: ask for less"})
        self._transport.write(answer)
        self._transport.close()


def _no_command(_arguments: Document) -> Document:
    raise ControlError("no such command: server and command are of different versions")
