"""What an entry of an LDAP server says about recipients: attributes to addresses, by what the administrator configured.

An address is written as it is, or behind `smtp:` in letters of any size. A value that cannot be an address is left out and counted: it
never stops a read. Nobody who may write an address into an entry can exclude the address of another with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from mailmoat._native import Address, normalise_domain
from mailmoat.directory.notation import notation
from mailmoat.directory.source import Entry, LeftOut, Listed
from mailmoat.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat.ldap.message import SearchEntry
    from mailmoat.settings.sections.directories import SourceSettings

DEFAULT_ATTRIBUTES: Final = ("mail",)
ENTRY_UUID: Final = "entryUUID"
_PREFIX: Final = "smtp:"
_LONGEST_EXAMPLE: Final = 200


class Mapping(NamedTuple):
    """Which attributes of an entry are its addresses and its targets, and on what condition it counts."""

    attributes: tuple[str, ...] = DEFAULT_ATTRIBUTES
    targets: tuple[str, ...] = ()
    condition: tuple[str, str] | None = None

    @classmethod
    def of(cls, row: SourceSettings) -> Mapping:
        """Return what is configured for a source."""
        return cls(row.attributes or DEFAULT_ATTRIBUTES, row.target_attributes, row.condition)

    @property
    def needed(self) -> tuple[str, ...]:
        """The attributes to ask for."""
        names = (*self.attributes, *self.targets, *([self.condition[0]] if self.condition else []), ENTRY_UUID)
        return tuple(dict.fromkeys(names))


class EntryReader:
    """Makes recipients of the entries of a server, by a mapping, and counts what it leaves out."""

    def __init__(self, mapping: Mapping) -> None:
        self._attributes = [name.lower() for name in mapping.attributes]
        self._targets = [name.lower() for name in mapping.targets]
        self._condition = tuple(part.lower() for part in mapping.condition or ())
        self._left_out = 0
        self._example = ""

    def entry(self, found: SearchEntry, entry_id: bytes) -> Entry:
        """Return what an entry says; without addresses when it is no recipient."""
        targets = self.targets(found)
        if targets is None:
            return Entry(entry_id, found.dn, ())
        values = _values(found, self._attributes)
        addresses = dict.fromkeys(self._read(found, values))
        return Entry(entry_id, found.dn, tuple(Listed(text, targets) for text in addresses))

    def targets(self, found: SearchEntry) -> tuple[str, ...] | None:
        """Return who gets the mail of an entry instead of it, as it is written; None when the entry does not count.

        What is no address is among them: `bounds` decides what takes its place, as with other sources.
        """
        if self._condition and not self._holds(found):
            return None
        return tuple(dict.fromkeys(map(_target, _values(found, self._targets))))

    def is_for_domain(self, found: SearchEntry, address: Address) -> bool:
        """Return whether an entry has the whole domain of an address, and not the address itself."""
        values = _values(found, self._attributes)
        listed = self._read(found, values)
        return f"@{address.domain}" in listed and all(
            one.startswith("@") or Address.parse(one).key != address.key for one in listed
        )

    def left_out(self) -> LeftOut | None:
        """Return what was left out since this was asked last; None for nothing."""
        if not self._left_out:
            return None
        said, self._left_out = LeftOut(self._left_out, self._example), 0
        return said

    def _holds(self, found: SearchEntry) -> bool:
        name, value = self._condition
        return any(held.decode("utf-8", "replace").strip().lower() == value for held in _values(found, [name]))

    def _read(self, found: SearchEntry, values: list[bytes]) -> list[str]:
        read = []
        for value in values:
            try:
                read.append(_address(value))
            except ValueError as error:
                shown = printable(value.decode("utf-8", "replace"))[:_LONGEST_EXAMPLE]
                self._left_out += 1
                self._example = f"{shown} of {printable(found.dn)[:_LONGEST_EXAMPLE]} is no address: {error}"
        return read


def _values(found: SearchEntry, names: Sequence[str]) -> list[bytes]:
    """Return the values of these attributes, with those that have options (`mail;lang-de`): a filter for `mail` finds them, too (RFC 4512 2.5.2)."""
    return [
        value
        for name in names
        for given, values in found.attributes.items()
        if given == name or given.startswith(f"{name};")
        for value in values
    ]


def id_of(found: SearchEntry) -> bytes:
    """Return what an entry is known by: its entryUUID (RFC 4530), or its name where the server has none."""
    written = found.attributes.get(ENTRY_UUID.lower())
    try:
        return UUID(written[0].decode()).bytes if written else found.dn.lower().encode()
    except ValueError:
        return found.dn.lower().encode()


def _address(value: bytes) -> str:
    text = _plain(value)
    if text.startswith("@"):
        return f"@{normalise_domain(text[1:])}"
    if text.startswith("!"):
        raise ValueError("it begins with !")
    return notation(str(Address.parse(text)))


def _target(value: bytes) -> str:
    """Return a target as text; octets that are not UTF-8 make it one that is no address."""
    return _without_prefix(value.decode(errors="backslashreplace"))


def _plain(value: bytes) -> str:
    return _without_prefix(value.decode())


def _without_prefix(written: str) -> str:
    text = written.strip()
    return text[len(_PREFIX) :].strip() if text[: len(_PREFIX)].lower() == _PREFIX else text
