"""Which other addresses a live source is asked for when it does not have an address as the client wrote it, and what their targets are then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat._native import Address

if TYPE_CHECKING:
    from mailmoat._native import Normalisation


def others(normalisation: Normalisation, address: Address) -> list[Address]:
    """Return the address without dots, and the one that it is a subaddress of with and without dots, where these are others."""
    user = normalisation.without_detail(address)
    named = (normalisation.without_dots(address), user, user and normalisation.without_dots(user))
    return [each for each in named if each is not None]


def handed_on(normalisation: Normalisation, address: Address, target: str) -> str:
    """Return a target of the address that the subaddress `address` belongs to: with its detail, where that means something there."""
    try:
        subaddress = normalisation.with_detail_of(address, Address.parse(target))
    except ValueError:
        return target  # the worker says what follows
    return target if subaddress is None else str(subaddress)
