"""One server of a directory: where it is, and how it is spoken to."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import NamedTuple


class Transport(Enum):
    """What is below LDAP."""

    CLEAR = "in clear"
    START_TLS = "StartTLS"
    """RFC 4511 4.14."""
    TLS = "TLS"
    """From the first octet: `ldaps://`."""
    UNIX = "a Unix socket"


class Server(NamedTuple):
    """A server at a host and a port, or at a Unix socket."""

    text: str
    """As it is written in the settings."""
    transport: Transport
    host: str = ""
    """A name, or an address without brackets."""
    port: int = 0
    socket: Path = Path()
