"""Accepts connections on one listening socket, and stops for a while when the worker has as many as its descriptors allow.

The socket itself stays open in the worker and in the supervisor: while nothing accepts, the kernel queues connections and
refuses none. Each time accepting starts, the loop gets duplicates of the socket, and closing these is the pause;
so a lack of descriptors neither spins nor refuses a client.

libuv accepts one connection a turn of the loop from each socket it listens on, and a turn is long while many clients are busy: with one
socket each new client would wait for as many turns as there are others before it in the kernel's queue. But each socket from which there is
nothing to accept costs every connection a failed accept(2). So there are few of them until clients are seen to wait.
"""

from __future__ import annotations

import socket  # noqa: TID251 - the option numbers of TCP_INFO
import struct
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

BACKLOG: Final = 4096
"""Connections the kernel keeps for a socket while its worker is busy or being replaced; net.core.somaxconn caps it."""
A_TURN: Final = 8
"""Connections accepted in one turn of the loop while many wait."""
FEW: Final = 2
"""The same otherwise; each more costs a failed accept(2), 2 to 3 us, for every connection that comes alone."""
CALM: Final = 60
"""Looks, one a second, at which not many waited, until few are accepted in a turn again."""
_WAITING: Final = struct.Struct("24xI")
"""tcpi_unacked of <netinet/tcp.h>: of a listening socket the connections that wait to be accepted."""


class Acceptor:
    """One listening socket of a worker; `make` builds the protocol of a new connection."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, listener: socket.socket, make: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._make = make
        self._servers: list[asyncio.AbstractServer] = []
        self._wanted = FEW
        self._calm = 0

    async def start(self) -> None:
        """Begin or resume accepting, or go on with as many sockets as `look` wants.

        Raises:
            OSError: no descriptor is left for a duplicate.

        """
        with ExitStack() as undo:
            servers: list[asyncio.AbstractServer] = []
            for _ in range(len(self._servers), self._wanted):
                duplicate = self._listener.dup()
                servers.append(await self._loop.create_server(self._make, sock=duplicate, backlog=BACKLOG))
                undo.callback(servers[-1].close)
            undo.pop_all()
        self._servers += servers

    def look(self) -> bool:
        """Look, once a second while accepting, how many wait; return whether `start` is to be called for more sockets."""
        (waiting,) = _WAITING.unpack(self._listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _WAITING.size))
        self._calm = 0 if waiting > A_TURN else self._calm + 1
        if not self._calm:
            self._wanted = A_TURN
        elif self._calm == CALM:
            self._wanted = FEW
            self._close(FEW)
        return len(self._servers) < self._wanted

    def pause(self) -> None:
        """Stop accepting; connections wait in the kernel's queue. Those already accepted continue."""
        self._close(0)

    def _close(self, kept: int) -> None:
        for server in self._servers[kept:]:
            server.close()
        del self._servers[kept:]
