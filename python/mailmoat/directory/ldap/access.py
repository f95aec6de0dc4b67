"""The servers of a row of `[[directories]]`, and how they are reached, from its settings."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mailmoat.directory.ldap.servers import Servers
from mailmoat.directory.password import read_password
from mailmoat.ldap.opening import Access, Login, Tls
from mailmoat.ldap.server import Server, Transport

if TYPE_CHECKING:
    from mailmoat.settings.sections.directories import SourceSettings
    from mailmoat.settings.source_url import SourceServer

_SHARE: Final = 0.9
_TRANSPORTS: Final = {"ldaps": Transport.TLS, "ads": Transport.TLS, "ldapi": Transport.UNIX}


def servers_of(row: SourceSettings) -> Servers:
    """Return the servers of a row, in its order."""
    return Servers([_server(server, row.tls) for server in row.url.servers], access_of(row))


def access_of(row: SourceSettings) -> Access:
    """Return how the servers of a row are reached.

    Without an account, the bind is SASL EXTERNAL where there is a client certificate or a Unix socket, else anonymous.
    """
    external = row.account is None and (row.tls_certificate is not None or row.url.scheme == "ldapi")
    return Access(
        Login(row.account or "", partial(read_password, row) if row.account else None, external=external),
        Tls(row.tls == "verify", row.tls_ca, row.tls_certificate, row.tls_key),
        row.timeout if row.mode == "sync" else time_for_one(row),
    )


def time_for_one(row: SourceSettings) -> float:
    """Return the seconds that one server has for its part of a lookup, so that the next ones have theirs."""
    return _SHARE * row.timeout / len(row.url.servers)


def _server(server: SourceServer, tls: str) -> Server:
    transport = _TRANSPORTS.get(server.scheme, Transport.CLEAR if tls == "none" else Transport.START_TLS)
    return Server(str(server), transport, server.host, server.port, Path(server.path))
