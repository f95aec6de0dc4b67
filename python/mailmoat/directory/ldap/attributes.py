"""The attributes that a row names and no entry has, for `mailmoat check-config`: they are misspelt, or the account may not read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.ldap import filters
from mailmoat.ldap.message import SearchEntry, SearchRequest
from mailmoat.ldap.outcome import UNDEFINED_ATTRIBUTE_TYPE, LdapError, ServerError
from mailmoat.ldap.root_dse import NO_ATTRIBUTE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailmoat.ldap.connection import Connection


async def missing(connection: Connection, base: str, named: Iterable[tuple[str, str]], patience: float) -> list[str]:
    """Return a sentence for each attribute that no entry below `base` has; `named` are pairs of a setting and an attribute.

    An answer that does not come within `patience` seconds, or that the server refuses to give, counts as one with entries.
    """
    return [
        f"{setting}: no entry below {base or 'the root'} has {name}; look at how it is written, and at the rights of the account"
        for setting, name in named
        if not await _has(connection, SearchRequest(base, filters.parse(f"({name}=*)"), (NO_ATTRIBUTE,)), patience)
    ]


async def _has(connection: Connection, request: SearchRequest, patience: float) -> bool:
    try:
        async with connection.search(request._replace(size_limit=1), patience=patience) as answers:
            async for answer in answers:
                if isinstance(answer, SearchEntry):
                    return True
    except LdapError as error:
        return error.code != UNDEFINED_ATTRIBUTE_TYPE
    except ServerError:
        return True
    return False
