"""How far the directory was read: what the cookie of a source is made of. Values only."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

import msgspec


class Method(Enum):
    """By what changes are found."""

    DIRSYNC = "dirsync"
    """The DirSync control: its position counts at all controllers of the domain."""
    USN = "usn"
    """Update sequence numbers, which each controller counts by itself."""


class Mark(NamedTuple):
    """A position in the changes of a naming context."""

    method: Method
    position: bytes
    """Of DirSync, as the server gave it; or a number in decimal digits."""
    controller: bytes
    """invocationId of the controller that it was read from."""
    whole_ms: int
    """When everything was read last, milliseconds since the epoch."""
    since_ms: int = 0
    """When this controller took over from another one, milliseconds since the epoch; 0 = it did not, or all was read from it since."""

    def encode(self) -> bytes:
        """Return it as the cookie of a source."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, cookie: bytes | None) -> Mark | None:
        """Return what `encode` was given; None for anything else."""
        if cookie is None:
            return None
        try:
            return msgspec.json.decode(cookie, type=cls)
        except msgspec.DecodeError:
            return None
