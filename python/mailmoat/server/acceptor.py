"""Accepts connections on one listening socket, and stops for a while when the worker has as many as its descriptors allow.

The socket itself stays open in the worker and in the supervisor: while nothing accepts, the kernel queues connections and
refuses none. Each time accepting starts, the loop gets a duplicate of the socket, and closing that duplicate is the pause;
so running out of descriptors can neither spin nor turn a client away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.server.sockets import BACKLOG

if TYPE_CHECKING:
    import asyncio
    import socket  # noqa: TID251 - the type alone
    from collections.abc import Callable


class Acceptor:
    """One listening socket of a worker; `make` builds the protocol of a new connection."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, listener: socket.socket, make: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._make = make
        self._server: asyncio.AbstractServer | None = None

    async def start(self) -> None:
        """Begins or resumes accepting.

        Raises:
            OSError: no descriptor is left for the duplicate.

        """
        if self._server is None:
            duplicate = self._listener.dup()
            self._server = await self._loop.create_server(self._make, sock=duplicate, backlog=BACKLOG)

    def pause(self) -> None:
        """Stops accepting; connections wait in the kernel's queue. Those already accepted go on."""
        if self._server is not None:
            self._server.close()
            self._server = None
