"""Reads recipients at one domain controller: all of them, or some objects again. What it keeps is a page, or what it was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat.directory.ad.controls import SHOW_DELETED
from mailmoat.directory.ad.ranges import completed
from mailmoat.directory.source import LeftOut
from mailmoat.ldap import filters
from mailmoat.ldap.message import SearchRequest
from mailmoat.ldap.paging import paged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from mailmoat.directory.ad.controller import Controller
    from mailmoat.directory.ad.place import Place
    from mailmoat.directory.source import Entry
    from mailmoat.ldap.connection import Connection
    from mailmoat.ldap.message import SearchEntry

FIRST_PAGE_TIME: Final = 120.0
"""Seconds until a page of all recipients comes."""
_ASKED_AT_ONCE: Final = 100
"""Objects of one search: a filter that a controller answers from its index."""


class Found(NamedTuple):
    """Entries of objects that were read."""

    entries: tuple[Entry, ...]
    left_out: LeftOut | None
    """Objects of which a value is no address."""


class Reading:
    """What `place` says, at one controller."""

    def __init__(self, connection: Connection, controller: Controller, place: Place) -> None:
        self._connection = connection
        self._base = controller.base
        self._context = controller.context
        self._mapping = place.mapping
        self._filter = place.filter

    async def everything(self) -> AsyncIterator[Found]:
        """Yield all recipients, a page at a time. Raises ServerError."""
        request = SearchRequest(self._base, filters.parse(self._filter), self._mapping.needed)
        async for page in paged(self._connection, request, patience=FIRST_PAGE_TIME):
            yield await self._found(page)

    async def ids(self) -> AsyncIterator[list[bytes]]:
        """Yield the ids of all objects that may be recipients, a page at a time. Raises ServerError."""
        request = SearchRequest(self._base, filters.parse(self._filter), ("objectGUID",))
        async for page in paged(self._connection, request, patience=FIRST_PAGE_TIME):
            yield [entry.attributes["objectguid"][0] for entry in page if "objectguid" in entry.attributes]

    async def again(self, ids: Sequence[bytes]) -> Found:
        """Return those of these objects that are there and may be recipients. Raises ServerError."""
        found: list[SearchEntry] = []
        for any_id in _some_at_once(ids):
            request = SearchRequest(self._base, filters.parse(f"(&{any_id}{self._filter})"), self._mapping.needed)
            async for page in paged(self._connection, request):
                found += page
        return await self._found(found)

    async def deleted(self, ids: Sequence[bytes]) -> set[bytes]:
        """Return those of these objects that the controller has as deleted and shows to the account. Raises ServerError."""
        found: set[bytes] = set()
        for any_id in _some_at_once(ids):
            terms = filters.parse(f"(&{any_id}(isDeleted=TRUE))")
            request = SearchRequest(self._context, terms, ("objectGUID",))
            async for page in paged(self._connection, request, (SHOW_DELETED,)):
                found.update(value for entry in page for value in entry.attributes.get("objectguid", ()))
        return found

    async def _found(self, objects: Sequence[SearchEntry]) -> Found:
        entries, sentences = [], []
        for found in objects:
            entry, wrong = self._mapping.entry(await completed(self._connection, found))
            if entry.id:
                entries.append(entry)
            if wrong:
                sentences.append(wrong)
        return Found(tuple(entries), LeftOut(len(sentences), sentences[0]) if sentences else None)


def _some_at_once(ids: Sequence[bytes]) -> Iterator[str]:
    """Yield filters that find these objects, some with each."""
    for start in range(0, len(ids), _ASKED_AT_ONCE):
        any_id = "".join(f"(objectGUID={filters.escape(one)})" for one in ids[start : start + _ASKED_AT_ONCE])
        yield f"(|{any_id})"
