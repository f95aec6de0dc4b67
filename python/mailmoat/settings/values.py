"""What a setting can be: from what an operator writes to a value.

Every reader takes a string (environment, TOML) or the TOML value itself and returns the value; what it cannot read is a
`ValueError` that says what is wrong and no more: the fix is the setting's `Form`. Domains and addresses go through the same
native normaliser as addresses on the wire, so that a table cannot be walked around. Reads no file and no environment.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from mailmoat._native import address_key, normalise_address, normalise_domain
from mailmoat.settings.maildir_path import maildir_path
from mailmoat.settings.notation import DURATION_UNITS, SIZE_UNITS

if TYPE_CHECKING:
    from collections.abc import Callable

Network = IPv4Network | IPv6Network
V = TypeVar("V")

LAST_PORT = 0xFFFF
LONGEST_TARPIT = 240
"""Seconds. RFC 5321 4.5.3.2 lets a client give up on a reply after five minutes; a minute is left for the way."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One address to listen on; with `proxy`, a PROXY protocol header comes before the first octet of SMTP."""

    host: str
    port: int
    proxy: bool = False

    def __str__(self) -> str:
        return f"{'proxy://' if self.proxy else ''}{bracketed(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class NextHop:
    """Where accepted messages go: a server (host, port), a Maildir (path), or nowhere. `text` is the written form."""

    kind: Literal["smtp", "lmtp", "maildir", "discard"]
    host: str
    port: int
    path: Path | None
    text: str

    def __str__(self) -> str:
        return self.text


def bracketed(host: str) -> str:
    """A host as it stands before a colon and a port."""
    return f"[{host}]" if ":" in host else host


def _number(value: object) -> float | None:
    """A TOML number; booleans are ints to Python, but not to anybody else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def duration(value: object) -> float:
    """Seconds from a number or `5s`, `4m`, `2.5h`, `5d`."""
    seconds = _number(value)
    if seconds is None and isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([smhd]?)", value.strip(), re.ASCII)
        seconds = float(match[1]) * DURATION_UNITS.get(match[2], 1) if match else None
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        raise ValueError("not a duration")
    return seconds


def tarpit_time(value: object) -> float:
    """A duration that no client's patience ends before: at most `LONGEST_TARPIT`."""
    seconds = duration(value)
    if seconds > LONGEST_TARPIT:
        raise ValueError(f"longer than {LONGEST_TARPIT} s, when legitimate clients give up")
    return seconds


def count(value: object) -> int:
    """A whole number, 0 or more."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value.strip(), re.ASCII):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError("not a whole number, 0 or more")


def positive(value: object) -> int:
    """A whole number, 1 or more."""
    number = count(value)
    if number == 0:
        raise ValueError("not a whole number, 1 or more")
    return number


def wait(value: object) -> float:
    """A duration that is not 0."""
    seconds = duration(value)
    if seconds == 0:
        raise ValueError("no time at all")
    return seconds


def size(value: object) -> int:
    """Octets from a number or `48KiB`, `36MiB`, `1GiB`."""
    if isinstance(value, str) and (match := re.fullmatch(r"(\d{1,9})\s*([KMG]iB)", value.strip(), re.ASCII)):
        return int(match[1]) * SIZE_UNITS[match[2]]
    try:
        return count(value)
    except ValueError:
        raise ValueError("not a size") from None


def switch(value: object) -> bool:
    """A boolean, or the usual words for one."""
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    raise ValueError("neither true nor false")


def text(value: object) -> str:
    """A string that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("empty" if isinstance(value, str) else "not a string")
    return value.strip()


def optional(read: Callable[[object], V]) -> Callable[[object], V | None]:
    """The same reader, for which nothing and the empty string are None."""

    def read_optional(value: object) -> V | None:
        return None if value is None or value == "" else read(value)

    return read_optional


def one_of(*choices: str) -> Callable[[object], str]:
    """One of these words; written in any case, given as it is spelled here."""
    spelled = {choice.lower(): choice for choice in choices}

    def read_choice(value: object) -> str:
        if not isinstance(value, str) or value.strip().lower() not in spelled:
            raise ValueError("not one of the choices")
        return spelled[value.strip().lower()]

    return read_choice


def temp_error_action(value: object) -> str:
    """What is done when nobody can tell: never Delete, which would lose legitimate messages whenever DNS fails."""
    if isinstance(value, str) and value.strip().lower() == "delete":
        raise ValueError("would silently lose legitimate messages whenever DNS does not answer")
    return one_of("StampStatus", "Reject")(value)


def items(value: object) -> tuple[object, ...]:
    """The items of a TOML array, or of a comma list."""
    if isinstance(value, str):
        return tuple(item for part in value.split(",") if (item := part.strip()))
    if isinstance(value, list | tuple):
        return tuple(value)
    raise ValueError("not a list")


def path(value: object) -> Path:
    """A path; `sources` has made it absolute where it came from a file or the environment."""
    return value if isinstance(value, Path) else Path(text(value))


def network(value: object) -> Network:
    """A network, or one address as the network of itself."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    written = text(value)
    try:
        return ip_network(written)
    except ValueError:
        pass
    try:
        meant = ip_network(written, strict=False)
    except ValueError:
        raise ValueError("not a network") from None
    raise ValueError(f"not a network, but an address in {meant}")


def domain(value: object) -> str:
    """A domain in the form it is compared in: lower case A-labels, no trailing dot."""
    return normalise_domain(text(value))


def mailbox(value: object) -> str:
    """An address with a domain, normalised."""
    address = normalise_address(text(value))
    if "@" not in address:
        raise ValueError("an address without a domain")
    return address


def recipient_key(value: object) -> str:
    """An address with a domain, in the form the recipient directory compares."""
    return address_key(mailbox(value))


def _port(written: str) -> int:
    if not re.fullmatch(r"\d{1,5}", written, re.ASCII) or int(written) > LAST_PORT:
        raise ValueError(f"{written or 'nothing'} is not a port")
    return int(written)


def host_and_port(written: str, default_port: int | None) -> tuple[str, int]:
    """The parts of `host:port` or `[address]:port`; without a port the default, or a mistake when there is none."""
    match = re.fullmatch(r"(?:\[([^\]]*)\]|([^:\[\]]*))(?::(.*))?", written)
    if not match or not (match[1] or match[2]):
        raise ValueError("no host and port" if default_port is None else "no host")
    if match[3] is None and default_port is None:
        raise ValueError("the port is missing")
    port = _port(match[3]) if match[3] is not None else default_port or 0
    return match[1] or match[2], port


def ip_text(host: str) -> str:
    """An IP address in its one form."""
    try:
        return str(ip_address(host))
    except ValueError:
        raise ValueError(f"{host} is not an IP address") from None


def listener(value: object) -> Listener:
    """`address:port`, `[address]:port` or either after `proxy://`."""
    if isinstance(value, Listener):
        return value
    written = text(value)
    host, port = host_and_port(written.removeprefix("proxy://"), None)
    return Listener(ip_text(host), port, written.startswith("proxy://"))


def admin_listen(value: object) -> str:
    """`address:port` normalised, or the empty string for `off`."""
    if value is None or (isinstance(value, str) and value.strip().lower() in {"", "off"}):
        return ""
    address = listener(value)
    if address.proxy:
        raise ValueError("the admin address does not speak the PROXY protocol")
    return str(address)


def next_hop(value: object) -> NextHop:
    """`smtp://host:port`, `lmtp://host:port`, `maildir:PATH` or `discard:`."""
    if isinstance(value, NextHop):
        return value
    written = text(value)
    kind, _, rest = written.partition(":")
    match kind:
        case "smtp" | "lmtp" if rest.startswith("//"):
            host, port = host_and_port(rest[2:].rstrip("/"), 25 if kind == "smtp" else 24)
            if port == 0:
                raise ValueError("0 is not a port to connect to")
            host = _connectable(host)
            return NextHop(kind, host, port, None, f"{kind}://{bracketed(host)}:{port}")
        case "maildir" if rest:
            return NextHop("maildir", "", 0, maildir_path(rest), written)
        case "discard" if not rest:
            return NextHop("discard", "", 0, None, "discard:")
    raise ValueError("not a next hop")


def _connectable(host: str) -> str:
    """A host to connect to: an IP address or a domain, normalised."""
    try:
        return str(ip_address(host))
    except ValueError:
        return normalise_domain(host)


def retry(value: object) -> tuple[float, ...]:
    """Seconds between attempts from `1m*4, 10m*6, 30m`; the last one repeats."""
    waits: list[float] = []
    for item in items(value):
        wait, star, times = str(item).partition("*") if isinstance(item, str) else (item, "", "")
        seconds, repeat = duration(wait), positive(times) if star else 1
        if seconds < 1 or len(waits) + repeat > 1000:  # noqa: PLR2004 - the reason is in the text
            raise ValueError("a wait below one second" if seconds < 1 else "more than 1000 waits")
        waits.extend([seconds] * repeat)
    if not waits:
        raise ValueError("no wait at all")
    return tuple(waits)
