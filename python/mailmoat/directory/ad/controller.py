"""What a domain controller says of itself, and of the place where recipients are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat.directory.ad.controls import SHOW_DELETED
from mailmoat.ldap import filters
from mailmoat.ldap.message import Scope, SearchEntry, SearchRequest
from mailmoat.ldap.outcome import NO_SUCH_OBJECT, SIZE_LIMIT_EXCEEDED, LdapError, ServerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat.ldap.connection import Connection
    from mailmoat.ldap.message import Control

CATALOGUE_PORTS: Final = frozenset({3268, 3269})
"""At these a controller answers for the whole forest, with a part of the attributes."""
_ANY: Final = filters.parse("(objectClass=*)")
_MAILED: Final = filters.parse("(&(objectClass=user)(!(objectClass=computer))(mail=*))")
_ADDRESSED: Final = filters.parse("(proxyAddresses=*)")
_LEVELS: Final = ("2000", "2003 interim", "2003", "2008", "2008 R2", "2012", "2012 R2", "2016", "2016", "2016", "2025")
"""Functional levels by number (MS-ADTS 6.1.4.2); 8 and 9 are not used."""
_ROOT: Final = (
    "defaultNamingContext",
    "dnsHostName",
    "domainFunctionality",
    "dsServiceName",
    "highestCommittedUSN",
    "namingContexts",
    "schemaNamingContext",
)


class Controller(NamedTuple):
    """A domain controller, as it answered."""

    name: str
    base: str
    """Where recipients are; empty = in the whole forest."""
    context: str
    """The naming context that `base` is in; empty = all of them."""
    schema: str
    """The naming context of the schema."""
    invocation: bytes
    """Its invocationId: update sequence numbers count for this one alone."""
    highest: int
    """Its last update sequence number."""
    level: str
    """The functional level of the domain, as administrators call it."""

    @property
    def catalogue(self) -> bool:
        """Whether it answers for the whole forest."""
        return not self.context


async def inspect(connection: Connection, base: str) -> Controller:
    """Ask the server what it is. Raises ServerError, with a sentence for one that is no domain controller."""
    root = await one(connection, SearchRequest("", _ANY, _ROOT, Scope.BASE))
    if root is None or not text(root, "dsServiceName"):
        raise ServerError(
            f"{connection.server.text}: it is no domain controller of Active Directory; write ldap:// for others"
        )
    settings = await one(connection, SearchRequest(text(root, "dsServiceName"), _ANY, ("invocationId",), Scope.BASE))
    invocation = settings.attributes.get("invocationid", [b""])[0] if settings else b""
    if not invocation:
        raise ServerError(f"{connection.server.text}: the account may not read its NTDS settings (invocationId)")
    catalogue = connection.server.port in CATALOGUE_PORTS
    default = "" if catalogue else text(root, "defaultNamingContext")
    return Controller(
        text(root, "dnsHostName"),
        base or default,
        "" if catalogue else _context(base, default, root),
        text(root, "schemaNamingContext"),
        invocation,
        int(text(root, "highestCommittedUSN") or 0),
        _level(text(root, "domainFunctionality")),
    )


async def shows_deleted(connection: Connection, controller: Controller) -> bool:
    """Return whether the account sees deleted objects. Raises ServerError."""
    if controller.catalogue:
        return False
    place = f"CN=Deleted Objects,{controller.context}"
    found = await one(connection, SearchRequest(place, _ANY, ("isDeleted",), Scope.BASE), (SHOW_DELETED,))
    return found is not None and "isdeleted" in found.attributes


async def shows_account_control(connection: Connection, controller: Controller) -> bool:
    """Return whether the account may read of another one if it is disabled. Raises ServerError."""
    found = await one(connection, SearchRequest(controller.base, _MAILED, ("userAccountControl",), size_limit=1))
    return found is None or "useraccountcontrol" in found.attributes


async def shows_addresses(connection: Connection, controller: Controller) -> bool:
    """Return whether the account sees `proxyAddresses` of any object, or none has mail. Raises ServerError."""
    for wanted, found in ((_ADDRESSED, True), (_MAILED, False)):
        if await one(connection, SearchRequest(controller.base, wanted, ("1.1",), size_limit=1)) is not None:
            return found
    return True


async def has_exchange(connection: Connection, controller: Controller) -> bool:
    """Return whether Exchange extended the schema. Raises ServerError."""
    wanted = filters.parse("(lDAPDisplayName=msExchRecipientTypeDetails)")
    return await one(connection, SearchRequest(controller.schema, wanted, ("1.1",), Scope.ONE_LEVEL)) is not None


async def one(connection: Connection, request: SearchRequest, controls: Sequence[Control] = ()) -> SearchEntry | None:
    """Return the first entry that a search finds; None without one. Raises ServerError."""
    found = None
    try:
        async with connection.search(request, controls) as answers:
            async for answer in answers:
                if found is None and isinstance(answer, SearchEntry):
                    found = answer
    except LdapError as error:
        if error.code not in (NO_SUCH_OBJECT, SIZE_LIMIT_EXCEEDED):
            raise
    return found


def text(found: SearchEntry, name: str) -> str:
    """Return the first value of an attribute as text; empty without one."""
    return found.attributes.get(name.lower(), [b""])[0].decode("utf-8", "replace")


def _context(base: str, default: str, root: SearchEntry) -> str:
    """Return the naming context that a base is in."""
    contexts = [value.decode("utf-8", "replace") for value in root.attributes.get("namingcontexts", ())]
    around = [context for context in contexts if f",{base}".lower().endswith(f",{context}".lower())]
    return max(around, key=len, default=default)


def _level(number: str) -> str:
    return _LEVELS[int(number)] if number.isdecimal() and int(number) < len(_LEVELS) else number or "unknown"
