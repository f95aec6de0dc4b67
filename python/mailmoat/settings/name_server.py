"""The name servers to ask: the value, and how it is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mailmoat.settings import values

PORT: Final = 53


@dataclass(frozen=True, slots=True)
class NameServer:
    """One name server to ask."""

    host: str
    port: int = PORT

    def __str__(self) -> str:
        return f"{values.bracketed(self.host)}:{self.port}"


def name_server(value: object) -> NameServer:
    """An IP address, `address:port` or `[address]:port`; an IPv6 address without a port needs no brackets."""
    if isinstance(value, NameServer):
        return value
    written = values.text(value)
    bare = written.count(":") > 1 and not written.startswith("[")
    host, port = (written, PORT) if bare else values.host_and_port(written, PORT)
    if port == 0:
        raise ValueError("0 is not a port to ask at")
    return NameServer(values.ip_text(host), port)
