"""A host and a port, as they are written and read everywhere: `mx.example.com:25`, `192.0.2.1:25`, `[2001:db8::1]:25`.

Listeners, the next hop, name servers, the admin address and the commands all read theirs here, so a mistake has the same text
whichever of them it is in. Every reader raises ValueError that says what is wrong and no more. Pure; no name is looked up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mailmoat.net import address

LAST_PORT: Final = 0xFFFF

_WRITTEN: Final = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]*))(?::(.*))?")
_PORT: Final = re.compile(r"\d{1,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host (a name, or an address without brackets) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"


def bracketed(host: str) -> str:
    """Return a host as it is written before a colon and a port."""
    return f"[{host}]" if ":" in host else host


def parse(written: str, default_port: int | None = None) -> Endpoint:
    """Read `host:port` or `[address]:port`; without a port it is the default, and a mistake where there is none."""
    match = _WRITTEN.fullmatch(written)
    if not match or not (match[1] or match[2]):
        raise ValueError("no host and port" if default_port is None else "no host")
    if match[3] is None and default_port is None:
        raise ValueError("the port is missing")
    return Endpoint(match[1] or match[2], _port(match[3]) if match[3] is not None else default_port or 0)


def to_listen(written: str) -> Endpoint:
    """Read an address of this machine and a port; port 0 is any that is free."""
    found = parse(written)
    return Endpoint(address.canonical(found.host), found.port)


def to_connect(written: str, default_port: int) -> Endpoint:
    """Read a server: a port it can have, and the default one where none is written."""
    found = parse(written, default_port)
    if found.port == 0:
        raise ValueError("0 is not a port to connect to")
    return found


def to_connect_bare(written: str, default_port: int) -> Endpoint:
    """Read a server whose IPv6 address needs no brackets where no port follows."""
    if written.count(":") > 1 and not written.startswith("["):
        return Endpoint(address.canonical(written), default_port)
    return to_connect(written, default_port)


def _port(written: str) -> int:
    if not _PORT.fullmatch(written) or int(written) > LAST_PORT:
        raise ValueError(f"{written or 'nothing'} is not a port")
    return int(written)
