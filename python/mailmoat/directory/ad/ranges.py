"""Attributes with so many values that a controller gives a part of them (MS-ADTS 3.1.1.3.1.3.3): asks for the others.

Without that, an object with more than 1,500 addresses would have none, for its attribute has another name then.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mailmoat.ldap import filters
from mailmoat.ldap.message import Scope, SearchEntry, SearchRequest
from mailmoat.ldap.outcome import ServerError

if TYPE_CHECKING:
    from mailmoat.ldap.connection import Connection

MOST_VALUES: Final = 100_000
"""Of one attribute of one object."""
_ANY: Final = filters.parse("(objectClass=*)")
_PART: Final = re.compile(r"([^;]+);range=(\d+)-(\d+|\*)", re.ASCII)


async def completed(connection: Connection, found: SearchEntry) -> SearchEntry:
    """Return an object with all values of its attributes. Raises ServerError."""
    if not any(";" in name for name in found.attributes):
        return found
    attributes: dict[str, list[bytes]] = {}
    for name, values in found.attributes.items():
        part = _PART.fullmatch(name)
        if part is None:
            attributes.setdefault(name, values)
        elif values:
            attributes[part[1]] = await _whole(connection, found.dn, part, values)
    return found._replace(attributes=attributes)


async def _whole(connection: Connection, dn: str, part: re.Match[str], first: list[bytes]) -> list[bytes]:
    values, name, last = list(first), part[1], part[3]
    while last != "*":
        wanted = f"{name};range={int(last) + 1}-*"
        following = await _part(connection, SearchRequest(dn, _ANY, (wanted,), Scope.BASE), int(last) + 1)
        if following is None:
            return values
        values += following[0]
        last = following[1]
        if len(values) > MOST_VALUES:
            raise ServerError(f"{connection.server.text}: more than {MOST_VALUES} values of {name} in {dn}")
    return values


async def _part(connection: Connection, request: SearchRequest, first: int) -> tuple[list[bytes], str] | None:
    """Return the values from number `first` on, and the number of the last one or `*`; None without any."""
    found: tuple[list[bytes], str] | None = None
    async with connection.search(request) as answers:
        async for answer in answers:
            for name, values in answer.attributes.items() if isinstance(answer, SearchEntry) else ():
                part = _PART.fullmatch(name)
                if part is not None and int(part[2]) == first and values:
                    found = values, part[3]
    return found
