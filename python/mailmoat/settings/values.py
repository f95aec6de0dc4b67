"""The parsers of settings: from the text of an administrator to a value.

Every reader takes a string (environment, TOML) or the TOML value itself and returns the value; anything else is a
`ValueError` that says only what is wrong: the fix is in the `Form` of the setting. Domains and addresses go through the same
native normaliser as addresses on the wire, so that a table cannot be bypassed by another spelling. Reads no file and no environment.
"""

from __future__ import annotations

import math
import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from pydantic_core import PydanticCustomError

from mailmoat._native import address_key, normalise_address, normalise_domain
from mailmoat.settings.notation import DURATION_UNITS, SIZE_UNITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.net.address import Network

V = TypeVar("V")

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_HOST_NAME: Final = re.compile(r"[a-z0-9._-]+", re.ASCII)
"""Underscores as well: names inside a house have them."""


def _number(value: object) -> float | None:
    """Return a TOML number; booleans are ints in Python only."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def duration(value: object) -> float:
    """Return seconds from a number or `5s`, `4m`, `2.5h`, `5d`."""
    seconds = _number(value)
    if seconds is None and isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([smhd]?)", value.strip(), re.ASCII)
        seconds = float(match[1]) * DURATION_UNITS.get(match[2], 1) if match else None
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        raise ValueError("not a duration")
    return seconds


def count(value: object) -> int:
    """Return a whole number, 0 or more."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value.strip(), re.ASCII):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError("not a whole number, 0 or more")


def decimal(value: object) -> float:
    """Return a number, 0 or more."""
    number = _number(value)
    if number is None and isinstance(value, str) and re.fullmatch(r"\d{1,15}(?:\.\d*)?", value.strip(), re.ASCII):
        number = float(value)
    if number is None or not math.isfinite(number) or number < 0:
        raise ValueError("not a number, 0 or more")
    return number


def positive(value: object) -> int:
    """Return a whole number, 1 or more."""
    try:
        number = count(value)
    except ValueError:
        number = 0
    if number == 0:
        raise ValueError("not a whole number, 1 or more")
    return number


def percent(value: object) -> int:
    """Return a whole number from 0 to 100."""
    number = count(value)
    if number > 100:  # noqa: PLR2004 - the whole
        raise ValueError("above 100")
    return number


def wait(value: object) -> float:
    """Return a duration that is not 0."""
    seconds = duration(value)
    if seconds == 0:
        raise ValueError("must be above 0")
    return seconds


def size(value: object) -> int:
    """Return octets from a number or `48KiB`, `36MiB`, `1GiB`."""
    if isinstance(value, str) and (match := re.fullmatch(r"(\d{1,9})\s*([KMG]iB)", value.strip(), re.ASCII)):
        return int(match[1]) * SIZE_UNITS[match[2]]
    try:
        return count(value)
    except ValueError:
        raise ValueError("not a size") from None


def switch(value: object) -> bool:
    """Return a boolean, or the usual words for one."""
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    raise ValueError("neither true nor false")


def text(value: object) -> str:
    """Return a string that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("empty" if isinstance(value, str) else "not a string")
    return value.strip()


def optional(read: Callable[[object], V]) -> Callable[[object], V | None]:
    """Return the same parser, with None for an empty string or no value."""

    def read_optional(value: object) -> V | None:
        return None if value is None or value == "" else read(value)

    return read_optional


def one_of(*choices: str) -> Callable[[object], str]:
    """Return one of these words; written in any case, given as it is spelled here."""
    spelled = {choice.lower(): choice for choice in choices}

    def read_choice(value: object) -> str:
        written = str(value).strip().lower() if isinstance(value, str | float) else ""  # `1.3` without quotes, too
        if written not in spelled:
            raise ValueError("not one of the choices")
        return spelled[written]

    return read_choice


def items(value: object) -> tuple[object, ...]:
    """Return the items of a TOML array, or of a comma list."""
    if isinstance(value, str):
        return tuple(item for part in value.split(",") if (item := part.strip()))
    if isinstance(value, list | tuple):
        return tuple(value)
    raise ValueError("not a list")


def name(value: object) -> str:
    """Return a name as an entry point and a section have it: small letters, digits and `_`."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("not a name of small letters, digits and _")
    return value


def path(value: object) -> Path:
    """Return a path; `sources` has made it absolute where it came from a file or the environment."""
    return value if isinstance(value, Path) else Path(text(value))


def network(value: object) -> Network:
    """Return a network, or one address as the network of itself."""
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
    """Return a domain in the form it is compared in: lower case A-labels, no trailing dot."""
    return normalise_domain(text(value))


def mailbox(value: object) -> str:
    """Return an address with a domain, normalised."""
    address = normalise_address(text(value))
    if "@" not in address:
        raise ValueError("an address without a domain")
    return address


def report_address(value: object) -> str:
    """Return an address that any next hop can take: what goes there may not carry SMTPUTF8 (RFC 6531 3.3), so its local part is ASCII."""
    address = mailbox(value)
    if not address.isascii():
        raise ValueError("the local part is not ASCII, and not every message may go there")
    return address


def host_name(value: object) -> str:
    """Return the name of a host as HTTP's `Host` field has it (RFC 9110 7.2), in lower case, without a port or a trailing dot."""
    name = text(value).lower().rstrip(".")
    if not _HOST_NAME.fullmatch(name):
        raise ValueError("not a host name")
    return name


def recipient_key(value: object) -> str:
    """Return an address with a domain, in the form the recipient directory compares."""
    return address_key(mailbox(value))


def contradiction(wrong: str, fix: str) -> PydanticCustomError:
    """Return the error of a value that is right by itself and does not go with that of another setting."""
    return PydanticCustomError("contradiction", "{error}", {"error": wrong, "fix": fix})
