"""Opens a connection to a next hop: its addresses one after the other, until one serves (RFC 5321 5.1).

Promises: a connection that is given is ready; everything else is a refusal for what waits. No connection is left behind. Never raises
for what a next hop, the network or the resolver does.
"""

from __future__ import annotations

import asyncio
from functools import partial
from socket import SOCK_STREAM  # noqa: TID251 - a constant for getaddrinfo, no socket
from typing import TYPE_CHECKING, Protocol, TypeAlias

from mailmoat._native import Client, RecipientState
from mailmoat.delivery.account import AccountError
from mailmoat.delivery.connection import OutboundConnection
from mailmoat.delivery.time_limits import time_limits
from mailmoat.net.address import canonical
from mailmoat.net.endpoint import Endpoint
from mailmoat.tls.certificate_file import CertificateError

if TYPE_CHECKING:
    from mailmoat.delivery.connection import Owner
    from mailmoat.delivery.handshake import Secured
    from mailmoat.delivery.security import Security
    from mailmoat.delivery.time_limits import PoolSettings
    from mailmoat.runtime.timers import Timers

Refusal: TypeAlias = tuple[RecipientState, str]
"""(PENDING or FAILED, reply) for everything that waits for a connection."""


class Hop(Protocol):
    """Where to."""

    @property
    def kind(self) -> str:
        """`smtp`, `smtps` or `lmtp`."""

    @property
    def host(self) -> str:
        """A name or a numeric address."""

    @property
    def port(self) -> int:
        """TCP port."""


class Dialler:
    """Makes the connections to one next hop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        next_hop: Hop,
        settings: PoolSettings,
        helo_name: str,
        *,
        timers: Timers,
        security: Security,
    ) -> None:
        """Make a dialler. ValueError if `helo_name` is not valid."""
        Client(helo_name)  # raises at start, not with the first message
        self._loop = loop
        self._hop = next_hop
        self._helo_name = helo_name
        self._timers = timers
        self._security = security
        self._connect_time = settings.connect_time
        self._xclient, self._chunking = settings.xclient, settings.chunking
        self._limits = time_limits(settings)
        self.name = f"{next_hop.kind}://{Endpoint(next_hop.host, next_hop.port)}"
        """The next hop in its written form."""

    async def dial(self, owner: Owner) -> OutboundConnection | Refusal:
        """Give a ready connection to the first of the next hop's addresses that serves, or what the last said."""
        # The loop's timers, not the wheel: they end what only the loop can end, once a connection.
        try:
            async with asyncio.timeout(self._connect_time):
                addresses = await self._addresses()
        except (OSError, UnicodeError) as error:
            return RecipientState.PENDING, f"421 4.4.3 No address of {self._hop.host}: {_reason(error)}"
        refusal: Refusal = RecipientState.PENDING, f"421 4.4.3 No address of {self._hop.host}"
        for address in addresses:
            result = await self._dial(owner, address)
            if not isinstance(result, tuple):
                return result
            refusal = result
        return refusal

    async def _dial(self, owner: Owner, address: str) -> OutboundConnection | Refusal:
        """Give a ready connection to one address, or why there is none."""
        peer = str(Endpoint(address, self._hop.port))
        while True:
            try:
                secured = self._security.prepare(
                    peer,
                    self._helo_name,
                    lmtp=self._hop.kind == "lmtp",
                    xclient=self._xclient,
                    chunking=self._chunking,
                )
            except (AccountError, CertificateError) as error:
                return RecipientState.PENDING, self._security.unusable(error)
            result = await self._connect(owner, address, peer, secured)
            if not self._security.opened(peer, secured.client):
                return result

    async def _connect(self, owner: Owner, address: str, peer: str, secured: Secured) -> OutboundConnection | Refusal:
        connection = OutboundConnection(
            self._loop, owner, secured=secured, next_hop=self.name, peer=peer, limits=self._limits, timers=self._timers
        )
        try:
            async with asyncio.timeout(self._connect_time):
                await self._loop.create_connection(partial(_same, connection), address, self._hop.port)
        except OSError as error:
            return RecipientState.PENDING, f"421 4.4.1 No connection to {peer}: {_reason(error)}"
        try:
            refused = await connection.opened
        except asyncio.CancelledError:
            connection.end("Shutting down")
            raise
        return connection if refused is None else refused

    async def _addresses(self) -> list[str]:
        try:
            return [canonical(self._hop.host)]
        except ValueError:
            found = await self._loop.getaddrinfo(self._hop.host, self._hop.port, type=SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _same(connection: OutboundConnection) -> OutboundConnection:
    return connection


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    return _ascii(str(getattr(error, "strerror", None) or error))


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")
