"""One question put to one server: over UDP, and over TCP when the answer does not fit (RFC 1035 4.2, RFC 7766).

Each UDP question has a socket of its own, so that who wants to forge an answer has to guess the port as well as the id (RFC 5452);
it is connected, so that a closed port is known at once. Raises TimeoutError, OSError and EOFError.
"""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

from mailmoat.resolver import wire

if TYPE_CHECKING:
    from mailmoat.settings.values import NameServer


async def ask(server: NameServer, question: wire.Question, seconds: float) -> bytes:
    """The server's answer, whole, within `seconds` or not at all."""
    deadline = asyncio.get_running_loop().time() + seconds
    octets = await _over_udp(server, question, deadline)
    if not wire.truncated(octets):
        return octets
    async with asyncio.timeout_at(deadline):
        return await _over_tcp(server, question)


class _Awaited(asyncio.DatagramProtocol):
    """A socket that waits for one answer."""

    def __init__(self, question: wire.Question, answer: asyncio.Future[bytes]) -> None:
        self.question = question
        self.answer = answer

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002
        if not self.answer.done() and self.question.answered_by(data):
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _over_udp(server: NameServer, question: wire.Question, deadline: float) -> bytes:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Awaited(question, answer), remote_addr=(server.host, server.port)
    )
    timer = loop.call_at(deadline, _expire, answer)
    try:
        transport.sendto(question.octets)
        return await answer
    finally:
        timer.cancel()
        transport.close()


def _expire(answer: asyncio.Future[bytes]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())


async def _over_tcp(server: NameServer, question: wire.Question) -> bytes:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(struct.pack("!H", len(question.octets)) + question.octets)
        while True:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            octets = await reader.readexactly(length)
            if question.answered_by(octets):
                return octets
    finally:
        writer.transport.abort()
