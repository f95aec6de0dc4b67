"""Keeps what is no PostgreSQL server away from asyncpg, until the server has authenticated us.

asyncpg believes the length of each message: one of 0, of a peer that sends zeros, makes it spin for ever, and the loop with it. So the messages before the
first ReadyForQuery are looked at first, and the connection is closed where one cannot be. A loop that is given to asyncpg puts this between it
and the transport; with TLS it is not there, for then the certificate says who the peer is.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_HEADER: Final = 5
_READY: Final = ord("Z")
_KINDS: Final = frozenset(b"RSKNEZv")
"""What a server may send before it is ready (PostgreSQL, Message Formats)."""
_LARGEST: Final = 65_536


class FramedLoop:
    """An event loop whose new connections are `Framed`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(self, factory: Callable[[], Any], *place: Any) -> tuple[asyncio.Transport, Any]:
        """Connect as a loop does."""
        transport, framed = await self._loop.create_connection(lambda: Framed(factory()), *place)
        return transport, framed.protocol

    async def create_unix_connection(self, factory: Callable[[], Any], path: str) -> tuple[asyncio.Transport, Any]:
        """Connect as a loop does."""
        transport, framed = await self._loop.create_unix_connection(lambda: Framed(factory()), path)
        return transport, framed.protocol


class Framed(asyncio.Protocol):
    """Passes on what a transport says to `protocol`, as long as it can be messages."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self._transport: asyncio.BaseTransport | None = None
        self._ready = False
        self._rest = b""
        """Of a message that is not complete."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = transport
        self.protocol.connection_made(transport)

    def data_received(self, octets: bytes) -> None:
        """See `asyncio.Protocol`."""
        if not self._ready and not self._are_messages(octets):
            if isinstance(self._transport, asyncio.Transport):
                self._transport.abort()
            return
        self.protocol.data_received(octets)

    def eof_received(self) -> bool | None:
        """See `asyncio.Protocol`."""
        return bool(self.protocol.eof_received())

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.protocol.connection_lost(error)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.protocol.resume_writing()

    def _are_messages(self, octets: bytes) -> bool:
        self._rest += octets
        while len(self._rest) >= _HEADER and not self._ready:
            length = int.from_bytes(self._rest[1:_HEADER], "big")
            if self._rest[0] not in _KINDS or not _HEADER - 1 <= length <= _LARGEST:
                return False
            if len(self._rest) < 1 + length:
                break
            self._ready = self._rest[0] == _READY
            self._rest = self._rest[1 + length :]
        if self._ready:
            self._rest = b""
        return True
