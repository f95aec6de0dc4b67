"""Which objects changed or were deleted since a mark: by the DirSync control, or by update sequence numbers.

DirSync's position counts at all controllers of the domain; it holds for each of them what has been seen. Update sequence numbers count for one
controller, and are for global catalogues and for servers without DirSync. Neither says how an object is now: it is to be read again,
because DirSync gives changed attributes only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat.directory.ad.controls import SHOW_DELETED, dirsync, synced
from mailmoat.directory.ad.mark import Mark, Method
from mailmoat.ldap import filters
from mailmoat.ldap.ber import GarbledError
from mailmoat.ldap.message import SearchEntry, SearchRequest
from mailmoat.ldap.outcome import UNAVAILABLE_CRITICAL_EXTENSION, LdapError, ServerError
from mailmoat.ldap.paging import paged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from mailmoat.directory.ad.controller import Controller
    from mailmoat.ldap.connection import Connection
    from mailmoat.ldap.message import Done

PATIENCE: Final = 300.0
"""Seconds: a controller goes through all objects before the first answer."""
_NOTHING: Final = filters.parse("(&(objectClass=user)(!(objectClass=user)))")
_NOT_OFFERED: Final = frozenset({2, UNAVAILABLE_CRITICAL_EXTENSION, 50, 53})
"""protocolError, unavailableCriticalExtension, insufficientAccessRights, unwillingToPerform: there is no DirSync for us."""
_REFUSED: Final = frozenset({1, 21, 87, 80, *_NOT_OFFERED})
"""And operationsError, invalidAttributeSyntax, 87 (Windows' invalid parameter), other: a position that the server does not take."""


class Changes(NamedTuple):
    """Objects by their ids, some of what changed since a mark."""

    changed: tuple[bytes, ...]
    deleted: tuple[bytes, ...]
    mark: Mark
    """Where to go on when these are dealt with."""


def continues(mark: Mark | None, controller: Controller) -> bool:
    """Return whether the changes since `mark` can be asked for at this controller."""
    if mark is None:
        return False
    return not controller.catalogue if mark.method is Method.DIRSYNC else mark.controller == controller.invocation


async def mark_now(connection: Connection, controller: Controller, whole_ms: int) -> Mark:
    """Return the position before a full read, which changes during the read come behind. Raises ServerError."""
    if not controller.catalogue:
        try:
            position = b""
            async for page in _dirsync(connection, controller, b"", _NOTHING, ("objectGUID",)):
                position = page.position
            return Mark(Method.DIRSYNC, position, controller.invocation, whole_ms)
        except LdapError as error:
            if error.code not in _NOT_OFFERED:
                raise
    return Mark(Method.USN, b"%d" % controller.highest, controller.invocation, whole_ms)


async def since(
    connection: Connection, controller: Controller, mark: Mark, wanted: str, attributes: Iterable[str]
) -> AsyncIterator[Changes]:
    """Yield what changed since `mark` of objects that `wanted` finds and of which one of `attributes` changed. Raises ServerError."""
    if mark.method is Method.DIRSYNC:
        names = ("objectGUID", "isDeleted", *attributes)
        async for page in _dirsync(connection, controller, mark.position, filters.parse(wanted), names):
            after = mark._replace(position=page.position, controller=controller.invocation)
            yield _split(page.entries, after)
        return
    first = int(mark.position) + 1
    request = SearchRequest(
        controller.context, filters.parse(f"(&{wanted}(uSNChanged>={first}))"), ("objectGUID", "isDeleted")
    )
    async for entries in paged(connection, request, (SHOW_DELETED,), patience=PATIENCE):
        yield _split(entries, mark)
    yield Changes((), (), mark._replace(position=b"%d" % controller.highest))


def refused(error: LdapError) -> bool:
    """Return whether the server does not take the mark, so that everything is to be read."""
    return error.code in _REFUSED


class _Page(NamedTuple):
    entries: tuple[SearchEntry, ...]
    position: bytes


async def _dirsync(
    connection: Connection, controller: Controller, position: bytes, wanted: bytes, attributes: tuple[str, ...]
) -> AsyncIterator[_Page]:
    """Yield what a controller has behind `position`, answer by answer."""
    request = SearchRequest(controller.context, wanted, attributes)
    more = True
    while more:
        async with connection.search(request, (dirsync(position),), patience=PATIENCE) as answers:
            entries = tuple([answer async for answer in answers if isinstance(answer, SearchEntry)])
            more, following = _behind(connection, answers.done)
        if more and following == position and not entries:
            raise ServerError(f"{connection.server.text}: it sends changes without end")
        position = following
        yield _Page(entries, position)


def _behind(connection: Connection, done: Done | None) -> tuple[bool, bytes]:
    try:
        return synced(done.controls if done else ())
    except GarbledError as error:
        raise ServerError(f"{connection.server.text}: {error}") from None


def _split(entries: Iterable[SearchEntry], mark: Mark) -> Changes:
    changed: list[bytes] = []
    deleted: list[bytes] = []
    for entry in entries:
        unique = entry.attributes.get("objectguid", [b""])[0]
        gone = entry.attributes.get("isdeleted", [b""])[0].upper() == b"TRUE"
        if unique:
            (deleted if gone else changed).append(unique)
    return Changes(tuple(dict.fromkeys(changed)), tuple(dict.fromkeys(deleted)), mark)
