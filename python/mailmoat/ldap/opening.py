"""Opens a connection to one server: address, TLS with verification, authentication. It is ready, or a ServerError says why not.

All of it together has one time limit, each address of a name its own part of it. Passwords and certificates are read each time, so that
new ones count from the next connection on. A password is sent in clear only where the settings say so.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from socket import SOCK_STREAM  # noqa: TID251 - a constant for getaddrinfo, no socket
from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat.ldap import root_dse
from mailmoat.ldap.connection import Connection
from mailmoat.ldap.outcome import LdapError, ServerError
from mailmoat.ldap.server import Transport
from mailmoat.net import address
from mailmoat.net.certificate_refusal import refusal
from mailmoat.net.client_tls import client_context

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mailmoat.ldap.server import Server

CONNECT_TIME: Final = 10.0
"""Seconds until a connection is ready."""


class Tls(NamedTuple):
    """How a server is authenticated, and we to it."""

    verify: bool = True
    """Its certificate must be valid and have the name in the settings (RFC 4513 3.1.3)."""
    ca: Path | None = None
    """None = the CAs of the system."""
    certificate: Path | None = None
    """Ours, for a server that asks for one."""
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return what a handshake needs, from the files as they are now. Raises OSError, ssl.SSLError among them."""
        return client_context(self.ca, self.certificate, self.key, verify=self.verify)


class Login(NamedTuple):
    """Who we are to a server: a name with a password, or the identity that the connection itself shows, or nobody."""

    account: str = ""
    password: Callable[[], str] | None = None
    """Returns it as it is now; it is in no repr. SourceError when it cannot be read."""
    external: bool = False
    """Who we are is what the certificate or the Unix socket says (SASL EXTERNAL)."""


class Access(NamedTuple):
    """What the servers of a directory have in common."""

    login: Login = Login()
    tls: Tls = Tls()
    connect_time: float = CONNECT_TIME


async def open_connection(server: Server, access: Access) -> Connection:
    """Return a connection to `server` that is ready for searches. Raises ServerError; LdapError for an account that it refuses."""
    try:
        async with asyncio.timeout(access.connect_time):
            return await _open(server, access)
    except TimeoutError:
        raise ServerError(f"{server.text}: no connection in {access.connect_time:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise ServerError(f"{server.text}: {refusal(error)}") from None
    except ssl.SSLError as error:
        raise ServerError(f"{server.text}: no TLS: {error.reason or 'the handshake failed'}") from None
    except (OSError, UnicodeError) as error:
        raise ServerError(f"{server.text}: no connection: {_reason(error)}") from None


def _reason(error: OSError | UnicodeError) -> str:
    """Return why there is no connection; the loops say the same in words of their own, or in none."""
    number = getattr(error, "errno", None) or 0
    if number > 0:  # below are those of names
        return os.strerror(number)
    return (
        getattr(error, "strerror", None)
        or str(error)
        or "the server closed it; ldaps:// and ads:// need a port for TLS"
    )


async def _open(server: Server, access: Access) -> Connection:
    context = access.tls.context() if server.transport in (Transport.TLS, Transport.START_TLS) else None
    connection = await _connect(server, access, context)
    try:
        if context is not None and server.transport is Transport.START_TLS:
            await connection.start_tls(context)
        await _authenticate(connection, access.login)
    except BaseException:
        connection.close()
        raise
    return connection


async def _authenticate(connection: Connection, login: Login) -> None:
    if login.external:
        await _authenticate_by_connection(connection)
    elif login.password is not None:
        password = login.password().encode()
        if not password:
            raise ServerError(f"{connection.server.text}: the account {login.account} has no password")
        await connection.bind(login.account, password)


async def _authenticate_by_connection(connection: Connection) -> None:
    """Be who the client certificate or the Unix socket says. Raises ServerError, which says if the server never takes that."""
    try:
        await connection.bind_external()
    except LdapError:
        offered = (await root_dse.read(connection, ("supportedSASLMechanisms",))).get("supportedsaslmechanisms", ())
        if offered and b"EXTERNAL" not in offered:
            raise ServerError(
                f"{connection.server.text}: it does not take a client certificate in place of a password (EXTERNAL); set account and password_file"
            ) from None
        raise


async def _connect(server: Server, access: Access, context: ssl.SSLContext | None) -> Connection:
    """Return a connection to the socket of a server, or to the first of its addresses that takes one."""
    loop = asyncio.get_running_loop()
    if server.transport is Transport.UNIX:
        return (await loop.create_unix_connection(lambda: Connection(server), str(server.socket)))[1]
    at_once = context if server.transport is Transport.TLS else None
    name = server.host if at_once else None
    failure: OSError = OSError(f"{server.host} has no address")
    addresses = await _addresses(server)
    for place in addresses:
        try:
            async with asyncio.timeout(access.connect_time / len(addresses)):
                _, made = await loop.create_connection(
                    lambda: Connection(server), place, server.port, ssl=at_once, server_hostname=name
                )
        except OSError as error:
            failure = error
        else:
            return made
    raise failure


async def _addresses(server: Server) -> list[str]:
    try:
        return [address.canonical(server.host)]
    except ValueError:
        found = await asyncio.get_running_loop().getaddrinfo(server.host, server.port, type=SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
