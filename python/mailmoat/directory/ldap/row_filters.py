"""The searches of a row: which entries are read, and how one address is asked for. The filter of the administrator is a part of each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mailmoat.errors import ConfigError
from mailmoat.ldap import filters
from mailmoat.settings.sections.directory_ldap import MARKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat._native import Address

ANYTHING: Final = "(objectClass=*)"
_MARK: Final = re.compile("|".join(map(re.escape, MARKS)))


def all_with_an_address(written: str | None, attributes: Sequence[str]) -> str:
    """Return the filter of the entries that have one of these attributes, and that match what is written."""
    return _both(written, _any([f"({name}=*)" for name in attributes]))


def with_the_address(written: str | None, attributes: Sequence[str], address: Address) -> str:
    """Return the filter of the entries that have `address`; what is written alone if it has a place for it."""
    values = dict(zip(MARKS, map(filters.escape, (str(address), address.local, address.domain)), strict=True))
    if written is not None and has_place(written):
        return _MARK.sub(lambda found: values[found[0]], written)
    return _both(written, has_address(attributes, address))


def has_address(attributes: Sequence[str], address: Address) -> str:
    """Return the filter of the entries that have `address` in one of these attributes, in a form in which a read of all would take it for that.

    Most attributes ignore case; for one that does not, the address is asked for in small letters, too.
    """
    written = dict.fromkeys((str(address), address.key))
    forms = [f"{before}{text}{behind}" for before in ("", "smtp:") for text in written for behind in ("", ".")]
    return _any([f"({name}={filters.escape(form)})" for name in attributes for form in forms])


def has_place(written: str) -> bool:
    """Return whether a filter has a place for an address."""
    return _MARK.search(written) is not None


def checked(name: str, written: str) -> bytes:
    """Return a filter encoded. ConfigError names the row whose filter it is."""
    try:
        return filters.parse(written)
    except ValueError as error:
        raise ConfigError([f"directories, {name}: filter: {error}"]) from None


def _both(written: str | None, other: str) -> str:
    if not written:
        return other
    text = written.strip()
    return f"(&{text if text.startswith('(') else f'({text})'}{other})"


def _any(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"(|{''.join(parts)})"
