"""Where a source of recipients is: value and notation.

Several servers have `,` between them, in the order in which they are tried; all have one scheme, or one scheme in clear and with TLS. A password in it is a mistake: it belongs
into a file of its own.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, cast
from urllib.parse import parse_qsl, unquote

from pydantic import PlainValidator

from mailmoat.net import endpoint
from mailmoat.settings import notation, values
from mailmoat.settings.notation import Form

NEXT_HOP: Final = "next_hop"
"""The scheme, and the family, of the source that is the next hop itself."""
Scheme = Literal["file", "script", "ad", "ads", "ldap", "ldaps", "ldapi", "postgresql", "mysql", "sqlite", "next_hop"]
MOST_SERVERS: Final = 20
_PORTS: Final = {"ad": 389, "ads": 636, "ldap": 389, "ldaps": 636, "postgresql": 5432, "mysql": 3306}
_LOCAL: Final = frozenset({"file", "script", "ldapi", "sqlite"})
"""Schemes that have a path of this machine, and no host."""
_FAMILIES: Final = {"ad": "ad", "ads": "ad", "ldap": "ldap", "ldaps": "ldap", "ldapi": "ldap"}
_SETTINGS: Final = {
    "sslmode": 'tls = "verify", "encrypt" or "none"',
    "ssl-mode": 'tls = "verify", "encrypt" or "none"',
    "sslrootcert": "tls_ca",
    "ssl-ca": "tls_ca",
    "sslcert": "tls_certificate",
    "ssl-cert": "tls_certificate",
    "sslkey": "tls_key",
    "ssl-key": "tls_key",
    "user": "account",
    "connect_timeout": "timeout",
}
"""What is written instead of options that are known from other programs."""
_NEXT: Final = re.compile(r"\s*,\s*(?=[a-z_]+:)")
_WRITTEN: Final = re.compile(r"([a-z_]+)://([^/?]*)(/[^?]*)?(?:\?(.*))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class SourceServer:
    """One server, or one file of this machine."""

    scheme: Scheme
    host: str
    """A name, or an address without brackets; empty for what is on this machine."""
    port: int
    """0 where there is none."""
    path: str = ""
    """Behind the host, unquoted: the absolute path of a file or socket; `/DATABASE`."""
    query: str = ""
    """Behind `?`, as written: `socket=PATH` of a database on this machine, or nothing."""

    def __str__(self) -> str:
        if self.scheme == NEXT_HOP:
            return "next_hop:"
        place = f"{endpoint.bracketed(self.host)}:{self.port}" if self.host else ""
        return f"{self.scheme}://{place}{self.path}{'?' if self.query else ''}{self.query}"


@dataclass(frozen=True, slots=True)
class SourceUrl:
    """Where a source is: one server or several."""

    text: str
    servers: tuple[SourceServer, ...]
    """At least one, the preferred one first."""

    @property
    def scheme(self) -> Scheme:
        """That of the first server."""
        return self.servers[0].scheme

    @property
    def family(self) -> str:
        """What kind of source it is: `ad` for `ad` and `ads`, `ldap` for `ldap`, `ldaps` and `ldapi`; else the scheme."""
        return _FAMILIES.get(self.scheme, self.scheme)

    @property
    def path(self) -> Path:
        """The path of the first server."""
        return Path(self.servers[0].path)

    @property
    def modes(self) -> tuple[str, ...]:
        """The values of `mode` that it can have."""
        return {NEXT_HOP: ("live",), "file": ("sync",)}.get(self.scheme, ("sync", "live"))

    def __str__(self) -> str:
        return self.text


def parse_source_url(value: object) -> SourceUrl:
    """Read one URL or several; ValueError says what is wrong, without what may be a password."""
    if isinstance(value, SourceUrl):
        return value
    servers = tuple(map(_server, _NEXT.split(values.text(value))))
    found = SourceUrl(", ".join(map(str, servers)), servers)
    if len(servers) > MOST_SERVERS:
        raise ValueError(f"{len(servers)} servers, more than {MOST_SERVERS}")
    if len({_FAMILIES.get(server.scheme, server.scheme) for server in servers}) > 1:
        raise ValueError("servers of different kinds; make a row for each kind")
    if len(servers) > 1 and servers[0].scheme in {*_LOCAL, NEXT_HOP} - {"ldapi"}:
        raise ValueError(f"only one {servers[0].scheme}: in a row; make a row for each")
    for place in map(str, servers):
        if list(map(str, servers)).count(place) > 1:
            raise ValueError(f"{place} is listed twice")
    return found


def _server(written: str) -> SourceServer:
    if written == "next_hop:":
        return SourceServer(NEXT_HOP, "", 0)
    match = _WRITTEN.fullmatch(written)
    if match is None or match[1] not in {*_PORTS, *_LOCAL}:
        raise ValueError("not a source")
    scheme, place, path, query = cast("Scheme", match[1]), match[2], unquote(match[3] or ""), match[4] or ""
    if "@" in (place if scheme in _LOCAL else place + path):  # a password may have a slash
        raise ValueError("an account in it; write account and password_file instead")
    if notation.names_secret(query):
        raise ValueError("a password in it; write password_file instead")
    if scheme in _LOCAL:
        if place or len(path) < len("/x"):
            raise ValueError(f"{scheme}: has a path of this machine, such as {scheme}:///path")
        if "?" in written:
            raise ValueError("a ? in it; write %3F if it belongs to the path")
        return SourceServer(scheme, "", 0, path)
    if scheme in _FAMILIES and (path.strip("/") or "?" in written):
        raise ValueError("more than a server in it; write base, attributes and filter instead")
    _only_a_socket(query, local=not place)
    if not place and scheme in {"postgresql", "mysql"}:
        return SourceServer(scheme, "", 0, path, query)
    found = endpoint.to_connect(place, _PORTS[scheme])
    return SourceServer(scheme, found.host, found.port, path.rstrip("/"))


def _only_a_socket(query: str, *, local: bool) -> None:
    """Raise ValueError for an option behind the `?` that there is not, with the setting that has its meaning."""
    for option, value in parse_qsl(query, keep_blank_values=True):
        if option in _SETTINGS:
            raise ValueError(f"the option {option} in it; write {_SETTINGS[option]} instead")
        if option != "socket":
            raise ValueError(f"the option {option} in it, which there is not; only socket=PATH can be behind the ?")
        if not local:
            raise ValueError("a socket beside a host; write one of them")
        if not value.startswith("/"):
            raise ValueError("a socket that is no absolute path")


SOURCE_URL_FORM: Final = Form(
    "ad://dc1.example.com, ldaps://host, postgresql://host/database, sqlite:///path, file:///path, script:///path or next_hop:",
    notation.show,
)
SourceUrlValue = Annotated[SourceUrl, PlainValidator(parse_source_url), SOURCE_URL_FORM]
