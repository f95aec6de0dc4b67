"""Which other addresses a live source is asked for when it does not have an address as the client wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailmoat._native import Address, Normalisation


def others(normalisation: Normalisation, address: Address) -> list[Address]:
    """Return the address without dots, and the one that it is a subaddress of with and without dots, where these are others."""
    user = normalisation.without_detail(address)
    named = (normalisation.without_dots(address), user, user and normalisation.without_dots(user))
    return [each for each in named if each is not None]
