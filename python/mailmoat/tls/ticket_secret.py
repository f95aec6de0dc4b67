"""The secret that the keys of session tickets are made from: one for all processes of a server, and another in each epoch.

An epoch is so many seconds of the wall clock. The secret of the next one follows from that of the last and not the other way round: a
process that was forked with it takes the same steps as all others without a word between them, and who gets hold of it learns
nothing of the tickets of older epochs. Tickets of the current epoch and the one before are good, so the secret kept is that of the one
before. Promises: it is never shown, and an older one is overwritten.
"""

from __future__ import annotations

import hmac
import os
from typing import Final

LENGTH: Final = 32
"""Octets."""


class TicketSecret:
    """The secret of an epoch."""

    __slots__ = ("_epoch", "_octets", "_rotation")

    def __init__(self, rotation: int, now: int) -> None:
        """Make a new one: `rotation` is the length of an epoch in seconds, `now` the time in seconds since the epoch of Unix."""
        self._rotation = rotation
        self._epoch = now // rotation
        self._octets = bytearray(os.urandom(LENGTH))

    @property
    def rotation(self) -> int:
        """Length of an epoch in seconds."""
        return self._rotation

    @property
    def epoch(self) -> int:
        """The epoch that `octets` belongs to."""
        return self._epoch

    @property
    def octets(self) -> bytes:
        """The secret itself."""
        return bytes(self._octets)

    def step(self, now: int) -> None:
        """Go on to the epoch before that of `now`; a clock that was put back changes nothing."""
        while self._epoch < now // self._rotation - 1:
            self._octets[:] = hmac.digest(self._octets, b"next", "sha256")
            self._epoch += 1

    def __repr__(self) -> str:
        return f"TicketSecret(epoch={self._epoch})"
