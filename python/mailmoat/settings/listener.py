"""An address to listen on: value and notation."""

from __future__ import annotations

from dataclasses import dataclass

from mailmoat.net import endpoint
from mailmoat.settings import values


@dataclass(frozen=True, slots=True)
class Listener:
    """One address to listen on; with `proxy`, a PROXY protocol header comes before the first octet of SMTP."""

    host: str
    port: int
    proxy: bool = False

    def __str__(self) -> str:
        return f"{'proxy://' if self.proxy else ''}{endpoint.bracketed(self.host)}:{self.port}"


def parse_listener(value: object) -> Listener:
    """Read `address:port`, `[address]:port` or either after `proxy://`."""
    if isinstance(value, Listener):
        return value
    written = values.text(value)
    found = endpoint.to_listen(written.removeprefix("proxy://"))
    return Listener(found.host, found.port, written.startswith("proxy://"))


def admin_listen(value: object) -> str:
    """Read `address:port`, and give it in its one spelling; the empty string for `off`."""
    if value is None or (isinstance(value, str) and value.strip().lower() in {"", "off"}):
        return ""
    address = parse_listener(value)
    if address.proxy:
        raise ValueError("the admin address does not speak the PROXY protocol")
    return str(address)
