"""What is read of an Active Directory: where, which objects, and how they become entries. Values only."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mailmoat.directory.ad.objects import Mapping
from mailmoat.ldap import filters

if TYPE_CHECKING:
    from collections.abc import Iterable


class Place(NamedTuple):
    """What is read."""

    mapping: Mapping = Mapping()
    base: str = ""
    """Empty = the default naming context, or at a global catalogue the whole forest."""
    condition: str = ""
    """A filter in parentheses that recipients meet besides; empty = all."""

    @property
    def filter(self) -> str:
        """The filter of all objects that may be recipients."""
        return f"(&{self.mapping.filter}{self.condition})"

    @property
    def watched(self) -> tuple[str, ...]:
        """The attributes on which it depends whether an object is a recipient, and which addresses it has; its name for moves out of `base`."""
        return _once(("name", *self.mapping.needed[1:], *filters.attributes_in(self.condition)))


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple({name.lower(): name for name in names}.values())
