"""Whether this machine has an address. Asks the kernel, which sends to its own addresses from the same ones; nothing is sent, nothing waits."""

from __future__ import annotations

import socket  # noqa: TID251 - asks the kernel which addresses are ours; nothing is sent
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mailmoat.net.address import Address

_DISCARD: Final = 9
"""Any port will do: a datagram socket that is connected has sent nothing."""


def is_own(address: Address) -> bool:
    """Return whether the machine has this address."""
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - the version
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), _DISCARD))
            source: str = probe.getsockname()[0]
    except OSError:
        return False
    return source == str(address)
