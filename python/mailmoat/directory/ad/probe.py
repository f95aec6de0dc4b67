"""A first look at a domain for `mailmoat check-config`: what is there, and what the administrator should know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat.directory.ad import delta
from mailmoat.directory.ad.controller import (
    has_exchange,
    inspect,
    shows_account_control,
    shows_addresses,
    shows_deleted,
)
from mailmoat.directory.ad.mark import Method
from mailmoat.directory.ad.objects import ADDRESS_ATTRIBUTES
from mailmoat.directory.ad.reading import Reading
from mailmoat.directory.ldap.attributes import missing
from mailmoat.directory.source import ProbeResult
from mailmoat.ldap import filters
from mailmoat.ldap.root_dse import ping
from mailmoat.settings.sections.directory_ad import Disabled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailmoat.directory.ad.controller import Controller
    from mailmoat.directory.ad.place import Place
    from mailmoat.directory.source import Entry
    from mailmoat.ldap.connection import Connection

MOST_COUNTED: Final = 10_000
"""Objects that are counted; with more of them their number is not said."""
_SAMPLE: Final = 3


async def probe(connection: Connection, place: Place, patience: float) -> ProbeResult:
    """Return what is found; `patience` are the seconds for a first answer. Raises ServerError."""
    await ping(connection, patience)
    controller = await inspect(connection, place.base)
    entries = 0
    sample: list[Entry] = []
    remarks = await _remarks(connection, controller, place)
    async for found in Reading(connection, controller, place).everything():
        receiving = [entry for entry in found.entries if entry.addresses]
        sample += receiving[: _SAMPLE - len(sample)]
        if found.left_out:
            remarks.append(f"left out: {found.left_out.example}")
        entries += len(receiving)
        if entries >= MOST_COUNTED:
            break
    remarks += await missing(connection, controller.base, _named(place, found=entries != 0), patience)
    shown = f"{connection.server.text} ({controller.name}, functional level {controller.level})"
    where = controller.base or "the whole forest"
    counted = entries if entries < MOST_COUNTED else None
    return ProbeResult(shown, where, counted, tuple(sample), tuple(remarks))


def _named(place: Place, *, found: bool) -> Iterator[tuple[str, str]]:
    """Yield the attributes that a row may have misspelt, each with its setting; those of its conditions where nothing was found by them."""
    if place.mapping.attributes != ADDRESS_ATTRIBUTES:
        yield from (("attributes", name) for name in place.mapping.attributes if name != "proxyAddresses")
    yield from (("target_attributes", name) for name in place.mapping.targets)
    if not found:
        yield from (("filter or condition", name) for name in filters.attributes_in(place.condition))


async def _remarks(connection: Connection, controller: Controller, place: Place) -> list[str]:
    remarks = []
    if not controller.catalogue and (await delta.mark_now(connection, controller, 0)).method is Method.USN:
        remarks.append("DirSync is not offered to this account: at another controller everything is read again")
    if not await shows_deleted(connection, controller):
        remarks.append(
            "deleted objects are not shown to this account: a deletion is noticed after the interval; permit it with dsacls"
        )
    if place.mapping.disabled is not Disabled.ACCEPT and not await shows_account_control(connection, controller):
        remarks.append(
            "the account may not read userAccountControl: disabled accounts receive mail, whatever disabled_accounts says"
        )
    if place.mapping.disabled is Disabled.SHARED and not await has_exchange(connection, controller):
        remarks.append(
            'Exchange did not extend this schema: disabled_accounts = "shared" means the same as "refuse" here'
        )
    if "proxyAddresses" in place.mapping.attributes and not await shows_addresses(connection, controller):
        remarks.append(
            "no object shows proxyAddresses to this account: secondary addresses are refused if there are any; see its rights"
        )
    return remarks
