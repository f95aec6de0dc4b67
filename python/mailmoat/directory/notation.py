"""The notation in which sources list recipients: `address`, `@domain`, `!address`, as in the recipient file. Pure."""

from __future__ import annotations

import re
from typing import Final

from mailmoat._native import Normalisation, normalise_address, normalise_domain
from mailmoat.printable import printable

USUAL: Final = Normalisation()
"""Which spellings are one mailbox where nothing else is configured."""
_SHOWN: Final = 60
_PLAIN: Final = re.compile(r"[^!@#=:\"\s][^@#=:\"\s]*(@[^@\s]+)?")
"""What means an address and nothing else."""


def check_listed(text: str) -> None:
    """Raise ValueError, with a sentence that is safe to show, unless `text` is an address, a domain or an excluded address."""
    name = text.removeprefix("!").strip()
    try:
        _ = normalise_domain(name[1:]) if name.startswith("@") else normalise_address(name)
    except ValueError:
        raise ValueError(f"{printable(text[:_SHOWN])} is no address") from None


def notation(address: str) -> str:
    """Return an address, as it is rendered, in this notation: what would mean something else in it is in quotes."""
    if address.startswith('"') or _PLAIN.fullmatch(address):
        return address
    local, at, domain = address.partition("@")
    return f'"{local}"{at}{domain}'
