"""Opens a connection to a next hop: its servers one after the other, and of each its addresses, until one serves (RFC 5321 5.1).

Promises: a connection that is given is ready; everything else is a refusal for what waits. No connection is left behind. Never raises
for what a next hop, the network or the resolver does.
"""

from __future__ import annotations

import asyncio
from functools import partial
from socket import SOCK_STREAM  # noqa: TID251 - a constant for getaddrinfo, no socket
from typing import TYPE_CHECKING

from mailmoat._native import Client, RecipientState
from mailmoat.delivery.account import AccountError
from mailmoat.delivery.connection import OutboundConnection
from mailmoat.delivery.time_limits import time_limits
from mailmoat.net.address import canonical
from mailmoat.net.endpoint import Endpoint
from mailmoat.tls.certificate_file import CertificateError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from mailmoat.delivery.connection import Owner
    from mailmoat.delivery.handshake import Secured
    from mailmoat.delivery.hosts import Host, Hosts
    from mailmoat.delivery.security import Security
    from mailmoat.delivery.time_limits import PoolSettings
    from mailmoat.mx.refusal import Refusal
    from mailmoat.runtime.timers import Timers


class Dialler:
    """Makes the connections of one destination; `name` is its next hop in its written form."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        name: str,
        hosts: Hosts,
        settings: PoolSettings,
        helo_name: str,
        *,
        timers: Timers,
        security: Security,
    ) -> None:
        """Make a dialler. ValueError if `helo_name` is not valid."""
        Client(helo_name)  # raises at start, not with the first message
        self.name = name
        self._loop = loop
        self._hosts = hosts
        self._helo_name = helo_name
        self._timers = timers
        self._security = security
        self._connect_time = settings.connect_time
        self._xclient, self._chunking = settings.xclient, settings.chunking
        self._limits = time_limits(settings)

    async def dial(self, owner: Owner) -> OutboundConnection | Refusal:
        """Give a ready connection to the first server that serves, or what the last said.

        As long as one of them may serve later, what waits is deferred, though another takes no messages at all (RFC 7504).
        """
        found = await self._hosts.find()
        if isinstance(found, tuple):
            return found
        refusal: Refusal | None = None
        for host in found:
            result = await self._dial(owner, host)
            if not isinstance(result, tuple):
                self._hosts.reached(host)
                return result
            self._hosts.away(host)
            if refusal is None or refusal[0] is not RecipientState.PENDING or result[0] is RecipientState.PENDING:
                refusal = result
        return refusal or (RecipientState.PENDING, f"421 4.4.1 No server of {self.name}")

    async def _dial(self, owner: Owner, host: Host) -> OutboundConnection | Refusal:
        """Give a ready connection to the first address of a server that serves, or what the last said."""
        if host.socket is not None:
            return await self._dial_address(owner, host, str(host.socket))
        # The loop's timers, not the wheel: they end what only the loop can end, once a connection.
        try:
            async with asyncio.timeout(self._connect_time):
                addresses = host.addresses or await self._addresses(host)
        except (OSError, UnicodeError) as error:
            return RecipientState.PENDING, f"421 4.4.3 No address of {host.name}: {_reason(error)}"
        refusal: Refusal = RecipientState.PENDING, f"421 4.4.3 No address of {host.name}"
        for address in addresses:
            result = await self._dial_address(owner, host, address)
            if not isinstance(result, tuple):
                return result
            refusal = result
        return refusal

    async def _dial_address(self, owner: Owner, host: Host, address: str) -> OutboundConnection | Refusal:
        """Give a ready connection to one address, or to a Unix socket, or why there is none."""
        peer = address if host.socket is not None else str(Endpoint(address, host.port))
        while True:
            try:
                secured = self._security.prepare(
                    peer, self._helo_name, host.tls, lmtp=host.lmtp, xclient=self._xclient, chunking=self._chunking
                )
            except (AccountError, CertificateError) as error:
                return RecipientState.PENDING, self._security.unusable(error)
            result = await self._connect(owner, host, peer, address, secured)
            self._hosts.tried(host, address, secured.client)
            if not self._security.opened(peer, secured.client):
                return result

    async def _connect(
        self, owner: Owner, host: Host, peer: str, address: str, secured: Secured
    ) -> OutboundConnection | Refusal:
        connection = OutboundConnection(
            self._loop,
            owner,
            secured=secured,
            next_hop=self.name,
            host=host,
            peer=peer,
            limits=self._limits,
            timers=self._timers,
        )
        try:
            async with asyncio.timeout(self._connect_time):
                await self._open(connection, host, address)
        except OSError as error:
            # No path is named: bounces go to anybody.
            place = peer if host.socket is None else "the local socket"
            return RecipientState.PENDING, f"421 4.4.1 No connection to {place}: {_reason(error)}"
        try:
            refused = await connection.opened
        except asyncio.CancelledError:
            connection.end("Shutting down")
            raise
        return connection if refused is None else refused

    def _open(self, connection: OutboundConnection, host: Host, address: str) -> Coroutine[None, None, object]:
        factory = partial(_same, connection)
        if host.socket is not None:
            return self._loop.create_unix_connection(factory, str(host.socket))
        return self._loop.create_connection(factory, address, host.port)

    async def _addresses(self, host: Host) -> list[str]:
        try:
            return [canonical(host.name)]
        except ValueError:
            found = await self._loop.getaddrinfo(host.name, host.port, type=SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _same(connection: OutboundConnection) -> OutboundConnection:
    return connection


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    return _ascii(str(getattr(error, "strerror", None) or error))


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")
