"""An LDAP server that does what it is told to, on the loop of the test: it lets everybody in, and answers searches as a fault wants it.

    async with HostileLdap(lambda number: [entry(number, b"a@example.com"), CLOSE]) as server: ... server.port

What is given to it returns, for the number of a search, the octets to send one after the other; `CLOSE` ends the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Self

from mailmoat.ldap import ber
from mailmoat.ldap.ber import Reader
from mailmoat.ldap.framing import Framer

CLOSE: Final = b""
BIND, SEARCH = 0x60, 0x63


def message(number: int, tag: int, *parts: bytes, controls: bytes = b"") -> bytes:
    return ber.sequence(ber.integer(number), ber.element(tag, *parts), controls)


def result(number: int, code: int = 0, tag: int = 0x65, text: str = "") -> bytes:
    return message(number, tag, ber.enumerated(code), ber.text(""), ber.text(text))


def entry(number: int, mail: bytes, dn: str = "uid=a,dc=x", controls: bytes = b"") -> bytes:
    values = ber.sequence(ber.text("mail"), ber.element(ber.SET, ber.octets(mail)))
    return message(number, 0x64, ber.text(dn), ber.sequence(values), controls=controls)


class HostileLdap:
    def __init__(
        self, answers: Callable[[int], Iterable[bytes]], *, bind: Callable[[int], bytes] | None = None
    ) -> None:
        self._answers = answers
        self._bind = bind or (lambda number: result(number, tag=0x61))
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        framer = Framer()
        while chunk := await reader.read(65536):
            for octets in framer.feed(chunk):
                request = Reader(octets).enter()
                number = request.integer()
                if request.tag == BIND:
                    writer.write(self._bind(number))
                elif request.tag == SEARCH:
                    for answer in self._answers(number):
                        if answer == CLOSE:
                            writer.close()
                            return
                        writer.write(answer)
                        await writer.drain()
