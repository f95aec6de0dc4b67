"""One query put to one server: over UDP, and over TCP when the answer does not fit (RFC 1035 4.2, RFC 7766).

Each UDP query has a socket of its own, so that a forger of answers has to guess the port as well as the ID (RFC 5452);
it is connected, so that a closed port is known at once. Raises TimeoutError, OSError and EOFError.
"""

from __future__ import annotations

import asyncio
import socket  # noqa: TID251 - a connected socket of its own for each query
import struct
from typing import TYPE_CHECKING

from mailmoat.resolver import wire

if TYPE_CHECKING:
    from mailmoat.net.endpoint import Endpoint


async def ask(server: Endpoint, query: wire.Query, seconds: float) -> bytes:
    """Return the server's answer, whole, within `seconds` or not at all."""
    deadline = asyncio.get_running_loop().time() + seconds
    octets = await _over_udp(server, query, deadline)
    if not wire.truncated(octets):
        return octets
    async with asyncio.timeout_at(deadline):
        return await _over_tcp(server, query)


class _Awaited(asyncio.DatagramProtocol):
    """A socket that asks one query and waits for the answer."""

    def __init__(self, query: wire.Query, answer: asyncio.Future[bytes]) -> None:
        self._query = query
        self._answer = answer
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]  # what it is
        self._transport = transport
        if self._answer.done():
            transport.close()
        else:
            transport.sendto(self._query.octets)

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002
        if not self._answer.done() and self._query.answered_by(data):
            self._answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(exc)

    def close(self) -> None:
        """Let go of the socket, were it not even made: who is cancelled meanwhile never gets to see the transport."""
        self._answer.cancel()
        if self._transport:
            self._transport.close()


async def _over_udp(server: Endpoint, query: wire.Query, deadline: float) -> bytes:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    awaited = _Awaited(query, answer)
    opened = socket.socket(socket.AF_INET6 if ":" in server.host else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        opened.connect((server.host, server.port))
    except OSError:
        opened.close()
        raise
    timer = loop.call_at(deadline, _expire, answer)
    try:
        await loop.create_datagram_endpoint(lambda: awaited, sock=opened)
        return await answer
    finally:
        timer.cancel()
        awaited.close()


def _expire(answer: asyncio.Future[bytes]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())


async def _over_tcp(server: Endpoint, query: wire.Query) -> bytes:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(struct.pack("!H", len(query.octets)) + query.octets)
        while True:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            octets = await reader.readexactly(length)
            if query.answered_by(octets):
                return octets
    finally:
        writer.transport.abort()
