"""The worker's side of the control socket.

Promises: a request is bounded in octets and time, a connection has one, and there are at most `MOST` at the same time; the oldest gives way.
Whatever a request holds, it costs neither the worker nor another connection anything: what it asks for wrongly is an error in its answer.
"""

from __future__ import annotations

import asyncio
import socket  # noqa: TID251 - the listening socket of the commands
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from mailmoat import maillog
from mailmoat.control.channel import MOST_ANSWER, MOST_REQUEST, NAME, TIME, ControlError, decode, encode, short_path
from mailmoat.control.commands import COMMANDS
from mailmoat.events import Event

if TYPE_CHECKING:
    from mailmoat.control.channel import Document
    from mailmoat.control.commands import Context
    from mailmoat.runtime.timers import Timers

MOST: Final = 16
_COMMANDS: Final = dict(COMMANDS)


class Control:
    """The listening socket of one worker, and what is connected to it."""

    def __init__(self, context: Context, timers: Timers) -> None:
        self.context = context
        self.timers = timers
        self.open: dict[ControlConnection, None] = {}
        self._server: asyncio.AbstractServer | None = None
        self._directory = Path()

    async def start(self, loop: asyncio.AbstractEventLoop, directory: Path) -> None:
        """Listen in the directory of a partition; a worker that cannot goes on without, and says so in the log."""
        try:
            listener = _listen(directory)
        except OSError as error:
            maillog.event(Event.CONTROL_FAILED, detail=f"{directory / NAME}: {error.strerror}")
            return
        self._directory = directory
        self._server = await loop.create_unix_server(lambda: ControlConnection(self), sock=listener)

    def close(self) -> None:
        """Listen no more, remove the socket, and end what is connected."""
        if self._server is not None:
            self._server.close()
            with suppress(OSError):  # the partition may be gone
                (self._directory / NAME).unlink(missing_ok=True)
        for connection in list(self.open):
            connection.due()


class ControlConnection(asyncio.Protocol):
    """One request and its answer."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._input = b""
        self._timer = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give it its time, at the cost of the oldest when there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        self._timer = self._control.timers.after(TIME, self)
        self._control.open[self] = None
        if len(self._control.open) > MOST:
            next(iter(self._control.open)).due()

    def data_received(self, data: bytes) -> None:
        """Answer a request that is complete, or too long."""
        self._input += data
        line, end, _ = self._input.partition(b"\n")
        if not end and len(self._input) < MOST_REQUEST:
            return
        answer = encode(self._answer(line if end else b""))
        if len(answer) > MOST_ANSWER:
            answer = encode({"error": "the answer is too long: ask for less"})
        self._transport.write(answer)
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Forget it."""
        self._control.timers.cancel(self._timer)
        self._control.open.pop(self, None)

    def due(self) -> None:
        """Close it: its time is over, or another needs its place."""
        self._transport.abort()

    def _answer(self, line: bytes) -> Document:
        try:
            request = decode(line)
            name = request.pop("command", None)
            run = _COMMANDS.get(name, _no_command) if isinstance(name, str) else _no_command
            return {"ok": run(self._control.context, request)}
        except ControlError as error:
            return {"error": str(error)}


def _no_command(_context: Context, _arguments: Document) -> Document:
    raise ControlError("no such command: server and command are of different versions")


def _listen(directory: Path) -> socket.socket:
    """Make the socket; OSError when that is not possible."""
    with short_path(directory) as path:
        Path(path).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(path)
            Path(path).chmod(0o600)  # the directory is for the account alone, too
            listener.listen(MOST)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        return listener
