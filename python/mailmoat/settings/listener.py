"""An address to listen on: value and notation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mailmoat.net import endpoint
from mailmoat.net.endpoint import Endpoint
from mailmoat.settings import values

SCHEMES: Final = {
    "smtp": (False, False),
    "smtps": (True, False),
    "submission": (False, True),
    "submissions": (True, True),
}
"""What a scheme says: TLS from the first octet on, clients must authenticate."""
PROXY: Final = "proxy"


@dataclass(frozen=True, slots=True)
class Listener:
    """One address to listen on, and what is spoken there."""

    host: str
    port: int
    proxy: bool = False
    """A PROXY protocol header comes before the first octet."""
    implicit_tls: bool = False
    """TLS begins with the first octet (RFC 8314 3)."""
    submission: bool = False
    """Clients must authenticate before they send (RFC 6409 4.3)."""

    @property
    def place(self) -> Endpoint:
        """Where it listens."""
        return Endpoint(self.host, self.port)

    def __str__(self) -> str:
        spoken = next(name for name, says in SCHEMES.items() if says == (self.implicit_tls, self.submission))
        schemes = [PROXY] * self.proxy + [spoken] * (spoken != "smtp")
        return "+".join(schemes) + "://" * bool(schemes) + str(self.place)


def parse_listener(value: object) -> Listener:
    """Read `address:port` or `[address]:port`, alone or after a scheme: one of `SCHEMES`, `proxy`, or `proxy+` and one of them."""
    if isinstance(value, Listener):
        return value
    written = values.text(value)
    scheme, parted, place = written.rpartition("://")
    found = endpoint.to_listen(place)
    if not parted or scheme == PROXY:
        return Listener(found.host, found.port, proxy=bool(parted))
    spoken = scheme.removeprefix(f"{PROXY}+")
    if spoken not in SCHEMES:
        raise ValueError(f"{scheme}:// is not known; known are {', '.join(f'{name}://' for name in (*SCHEMES, PROXY))}")
    implicit_tls, submission = SCHEMES[spoken]
    return Listener(found.host, found.port, spoken != scheme, implicit_tls, submission)


def admin_listen(value: object) -> str:
    """Read `address:port`, and give it in its one spelling; the empty string for `off`."""
    if value is None or (isinstance(value, str) and value.strip().lower() in {"", "off"}):
        return ""
    address = parse_listener(value)
    if address != Listener(address.host, address.port):
        raise ValueError("the admin address takes no scheme: HTTP is spoken there")
    return str(address)
