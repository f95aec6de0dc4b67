"""The listening sockets of one worker: it accepts from all of them, or, when it has as many connections as its descriptors allow, from none.

A pause lasts until a connection is free again; meanwhile the kernel queues connections and refuses none. A lack of descriptors is a
pause and a line in the log, never an error.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mailmoat import maillog
from mailmoat.events import Event
from mailmoat.metrics import ACCEPT_PAUSES
from mailmoat.receive.acceptor import Acceptor
from mailmoat.receive.connection import Connection

if TYPE_CHECKING:
    import asyncio
    import socket  # noqa: TID251 - the type alone
    from collections.abc import Callable, Sequence

    from mailmoat.receive.receiver import Receiver
    from mailmoat.settings import Listener


class Acceptors:
    """All listening sockets of a worker; `most` connections are what its descriptors allow, and `opened` gets their number with each new one."""

    def __init__(
        self,
        receiver: Receiver,
        listeners: Sequence[tuple[socket.socket, Listener]],
        most: int,
        opened: Callable[[int], None],
    ) -> None:
        self._receiver = receiver
        self._listeners = listeners
        self._most = most
        self._opened = opened
        self._acceptors = [
            Acceptor(receiver.loop, listener, partial(self._connection, address)) for listener, address in listeners
        ]
        self._accepting = False
        self._starting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin or resume accepting."""
        try:
            for acceptor in self._acceptors:
                await acceptor.start()
            self._accepting = True
        except OSError as error:
            self._pause(str(error))

    def tick(self) -> None:
        """Resume, once a second, when there is room again; look how many clients wait while accepting."""
        if self._accepting:
            more = [acceptor.look() for acceptor in self._acceptors]
        else:
            more = [len(self._receiver.connections) < self._most]
        if any(more):
            self._starting = self._receiver.loop.create_task(self.start())

    def close(self) -> None:
        """Accept no more: the kernel must not queue connections for a process that accepts none."""
        self._stop()
        for listener, _ in self._listeners:
            listener.close()

    def _connection(self, listener: Listener) -> asyncio.BaseProtocol:
        connections = len(self._receiver.connections) + 1
        self._opened(connections)
        if connections >= self._most and self._accepting:
            self._accepting = False
            # Not at once: it would lose the one being accepted.
            self._receiver.loop.call_soon(self._pause, "too few descriptors")
        return Connection(self._receiver, listener)

    def _pause(self, reason: str) -> None:
        """Leave the next connections to the kernel's queue for a while."""
        self._accepting = False
        self._receiver.metrics.add(ACCEPT_PAUSES)
        connections = len(self._receiver.connections)
        maillog.event(Event.ACCEPT_PAUSED, connections=connections, limit=self._most, detail=reason)
        self._stop()

    def _stop(self) -> None:
        if self._starting is not None:
            self._starting.cancel()  # a look of the same turn may have begun it
        for acceptor in self._acceptors:
            acceptor.pause()
