"""Accepts connections on one listening socket, and stops for a while when the worker has as many as its descriptors allow.

The socket itself stays open in the worker and in the supervisor: while nothing accepts, the kernel queues connections and
refuses none. Each time accepting starts, the loop gets duplicates of the socket, and closing these is the pause;
so a lack of descriptors neither spins nor refuses a client.

libuv accepts one connection a turn of the loop from each socket it listens on, and a turn is long while many clients are busy: with one
socket each new client would wait for as many turns as there are others before it in the kernel's queue.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    import socket  # noqa: TID251 - the type alone
    from collections.abc import Callable

BACKLOG: Final = 4096
"""Connections the kernel keeps for a socket while its worker is busy or being replaced; net.core.somaxconn caps it."""
A_TURN: Final = 8
"""Connections accepted in one turn of the loop; each more costs a failed accept(2), about 1 us, for every connection."""


class Acceptor:
    """One listening socket of a worker; `make` builds the protocol of a new connection."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, listener: socket.socket, make: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._make = make
        self._servers: list[asyncio.AbstractServer] = []

    async def start(self) -> None:
        """Begin or resume accepting.

        Raises:
            OSError: no descriptor is left for the duplicate.

        """
        if self._servers:
            return
        with ExitStack() as undo:
            servers: list[asyncio.AbstractServer] = []
            for _ in range(A_TURN):
                duplicate = self._listener.dup()
                servers.append(await self._loop.create_server(self._make, sock=duplicate, backlog=BACKLOG))
                undo.callback(servers[-1].close)
            undo.pop_all()
        self._servers = servers

    def pause(self) -> None:
        """Stop accepting; connections wait in the kernel's queue. Those already accepted continue."""
        for server in self._servers:
            server.close()
        self._servers = []
