"""Whether two tables have the same recipients: the sum of a number for each entry says so. Values."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mailmoat.directory.source import Entry

DIGESTS: Final = 1 << 128
"""How many there are: sums begin again there."""


def digest_of(entry: Entry | None) -> int:
    """Return a number for what an entry says of recipients, whatever its name; 0 where that is nothing, as where there is none."""
    if entry is None or not entry.addresses:
        return 0
    addresses = sorted({one.text: one for one in entry.addresses}.values())
    return int.from_bytes(blake2b(repr((entry.id, addresses)).encode(), digest_size=16).digest(), "big")


def written(digest: int) -> bytes:
    """Return a sum as it is kept."""
    return digest.to_bytes(16, "big")
