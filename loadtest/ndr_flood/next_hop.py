"""A next hop that refuses recipients whose address begins with `nobody` and takes all others; it counts what it takes.

    hop = await start()          # in the running loop, at a port of 127.0.0.1
    hop.taken["ann@good.example"]

It takes PIPELINING, and refuses DATA when no recipient is left (RFC 5321 3.3).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

REFUSED = b"nobody"
END = b"\r\n.\r\n"
OFFERS = b"250-hop.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250 DSN\r\n"
REPLIES = {
    b"EHLO": OFFERS,
    b"MAIL": b"250 2.1.0 ok\r\n",
    b"RSET": b"250 2.0.0 ok\r\n",
    b"NOOP": b"250 2.0.0 ok\r\n",
    b"QUIT": b"221 2.0.0 bye\r\n",
}


class NextHop:
    """What came, over all connections."""

    def __init__(self) -> None:
        self.port = 0
        self.taken: Counter[str] = Counter()
        """Messages by recipient."""
        self.reports: Counter[str] = Counter()
        """Those of them that have a null reverse-path."""
        self.refused = 0
        """Recipients."""


class _Connection(asyncio.Protocol):
    def __init__(self, hop: NextHop) -> None:
        self._hop = hop
        self._rest = b""
        self._in_content = False
        self._null = False
        self._recipients: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(b"220 hop.test ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._rest += data
        replies = b"".join(self._replies())
        if replies:
            self._transport.write(replies)

    def _replies(self) -> Iterator[bytes]:
        while True:
            found, separator, rest = self._rest.partition(END if self._in_content else b"\r\n")
            if not separator:
                return
            self._rest = rest
            yield self._content_ended() if self._in_content else self._reply(found)

    def _reply(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb == b"MAIL":
            self._null, self._recipients = b"<>" in line, []
        elif verb == b"RCPT":
            return self._recipient(line.partition(b"<")[2].rpartition(b">")[0])
        elif verb == b"DATA":
            self._in_content = bool(self._recipients)
            return b"354 go\r\n" if self._recipients else b"554 5.5.1 no valid recipients\r\n"
        return REPLIES.get(verb, b"500 5.5.1 unknown command\r\n")

    def _recipient(self, address: bytes) -> bytes:
        if address.startswith(REFUSED):
            self._hop.refused += 1
            return b"550 5.1.1 no such mailbox\r\n"
        self._recipients.append(address.decode())
        return b"250 2.1.5 ok\r\n"

    def _content_ended(self) -> bytes:
        self._in_content = False
        self._hop.taken.update(self._recipients)
        if self._null:
            self._hop.reports.update(self._recipients)
        return b"250 2.0.0 taken\r\n"


async def start() -> NextHop:
    """Listen on a free port of 127.0.0.1, as long as the loop runs."""
    hop = NextHop()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(hop), "127.0.0.1", 0)
    hop.port = server.sockets[0].getsockname()[1]
    return hop
