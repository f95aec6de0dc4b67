"""Entries out of the rows of a query, by the names of its columns.

`address` is the one that must be there. `targets` (text with commas, an array, or JSON) gets its mail; `active` and `deleted` say whether it exists now;
`id` is the key of the entry, and rows of one id that follow each other are one entry; `changed` says when. Other columns are ignored. A value that
cannot be read costs one row, never the whole query; what is not clear counts as existing. An address without a domain cannot be read, unless the
source has a default domain: in a table of accounts it is as likely the name of a program, a test or garbage. Pure.
"""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat._native import Address
from mailmoat.directory.notation import USUAL, check_listed
from mailmoat.directory.source import MOST_TARGETS, Entry, LeftOut, Listed
from mailmoat.errors import SourceError
from mailmoat.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mailmoat._native import Normalisation
    from mailmoat.directory.sql.highest import Highest

_NO: Final = frozenset({"", "0", "f", "false", "n", "no", "off", "\0"})
_LIKELY: Final = ("email", "mail", "username", "userid", "source", "login", "recipient", "user", "name")
"""What the column with the address is called elsewhere."""
MOST_ROWS: Final = 10_000
"""Of one entry."""
_SHOWN: Final = 60
_LONGEST_KEY: Final = 512


class Column(StrEnum):
    """A column that has a meaning."""

    ADDRESS = "address"
    TARGETS = "targets"
    ID = "id"
    ACTIVE = "active"
    DELETED = "deleted"
    CHANGED = "changed"


class Columns(NamedTuple):
    """Where the columns are in a row; None = not there."""

    address: int
    targets: int | None = None
    id: int | None = None
    active: int | None = None
    deleted: int | None = None
    changed: int | None = None

    @classmethod
    def of(cls, setting: str, names: Sequence[str], *, changes: bool = False) -> Columns:
        """Find them by their names, in any case; with `changes`, those that a changed row is known by, too. SourceError with the fix."""
        known = [name.lower() for name in names]
        twice = [name for name, times in Counter(known).items() if times > 1 and name in set(Column)]
        if twice:
            raise SourceError(f"{setting}: two columns are named {twice[0]}; name each column that it gives")
        if Column.ADDRESS not in known:
            raise SourceError(f"{setting}: {_shown(names)}, and none is named address; {_suggestion(known)}")
        for column, why in ((Column.ID, "the key of the row"), (Column.CHANGED, "when it changed")):
            if changes and column not in known:
                raise SourceError(f"{setting}: with changes_query it needs a column named {column}, {why}")
        return cls(*(known.index(column) if column in known else None for column in Column))  # type: ignore[arg-type] # address is there


def _shown(names: Sequence[str]) -> str:
    written = ", ".join(printable(name) for name in names[:10])
    return f"it gives the columns {written}" if names else "it gives no columns"


def _suggestion(known: Sequence[str]) -> str:
    likely = next((name for name in _LIKELY if name in known), "email")
    return f"write for example SELECT {likely} AS address"


class Reader:
    """Reads the rows of one query as they come."""

    def __init__(
        self,
        columns: Columns,
        highest: Highest,
        default_domain: str | None = None,
        normalisation: Normalisation = USUAL,
    ) -> None:
        """Take where the columns are, the domain of an address without one, and which spellings are one mailbox."""
        self._columns = columns
        self._highest = highest
        self._default_domain = default_domain
        self._normalisation = normalisation
        self._id: object = None
        self._rows: list[Sequence[object]] = []
        self._bad, self._example = 0, ""

    def read(self, rows: Iterable[Sequence[object]]) -> list[Entry]:
        """Return the entries that are complete; the last one may go on."""
        key, found = self._columns.id, []
        for row in rows:
            self._note(row)
            if key is None:
                found.append(self._entry((row,)))
                continue
            if self._rows and row[key] != self._id:
                found.append(self._entry(self._rows))
                self._rows = []
            self._id = row[key]
            self._rows.append(row)
            if len(self._rows) > MOST_ROWS:
                raise SourceError(f"more than {MOST_ROWS} rows have one id")
        return [entry for entry in found if entry is not None]

    def end(self) -> list[Entry]:
        """Return the last entry, if there is one."""
        last, self._rows = self._entry(self._rows) if self._rows else None, []
        return [] if last is None else [last]

    def left_out(self) -> LeftOut | None:
        """Return what could not be read since the call before."""
        found = LeftOut(self._bad, self._example) if self._bad else None
        self._bad, self._example = 0, ""
        return found

    def _note(self, row: Sequence[object]) -> None:
        if self._columns.changed is not None:
            self._highest.add(row[self._columns.changed])

    def _entry(self, rows: Sequence[Sequence[object]]) -> Entry | None:
        """Return the entry of rows of one key; without addresses where it gets no mail; None where nothing can be said of it."""
        listed: dict[str, list[str]] = {}
        good = False
        for row in rows:
            try:
                text = _address(row[self._columns.address], self._default_domain)
            except ValueError as error:
                self._leave_out(str(error))
                continue
            good = True
            if self._counts(row):
                listed.setdefault(text, []).extend(self._targets(row, text) or (text,))
        if not good and self._columns.id is None:
            return None
        addresses = tuple(Listed(text, self._others(text, targets)) for text, targets in listed.items())
        return self._keyed(rows[0], addresses)

    def _keyed(self, row: Sequence[object], addresses: tuple[Listed, ...]) -> Entry | None:
        if self._columns.id is not None:
            key = row[self._columns.id]
            if key is None:
                self._leave_out("a row without an id")
                return None
            octets = bytes(key) if isinstance(key, bytes | bytearray | memoryview) else str(key).encode()
            shown = octets.hex() if isinstance(key, bytes | bytearray | memoryview) else printable(str(key))
            return Entry(_shortened(octets), f"id {shown[:_SHOWN]}", addresses)
        if not addresses:
            return None
        [listed] = addresses
        # Rows without a key: one for each target of an address is usual, and each is an entry.
        # JSON can have half of a surrogate pair in a target, which is no address and costs that target alone.
        key = "\0".join([listed.text, *listed.targets]).encode(errors="surrogatepass")
        return Entry(key, listed.text, addresses)

    def _counts(self, row: Sequence[object]) -> bool:
        active, deleted = self._columns.active, self._columns.deleted
        return (active is None or _yes(row[active])) and (deleted is None or not _yes(row[deleted]))

    def _targets(self, row: Sequence[object], text: str) -> tuple[str, ...]:
        """Return the targets of a row as they are written: `bounds` decides what takes the place of one that is no address.

        A whole domain is another name of one domain, or a catch-all with addresses.
        """
        if self._columns.targets is None or text.startswith("!"):
            return ()
        targets = _items(row[self._columns.targets])
        if text.startswith("@") and len(targets) > 1 and any(target.startswith("@") for target in targets):
            return ()
        if len(targets) > MOST_TARGETS:
            self._leave_out(f"{text} has {len(targets)} targets, more than {MOST_TARGETS}: not redirected")
            return ()
        return targets

    def _others(self, text: str, targets: Sequence[str]) -> tuple[str, ...]:
        """Return the targets of an address, each once; none where that is the address alone."""
        if list(targets) == [text]:
            return ()
        once = {self._key(target): target for target in targets}
        return () if list(once) == [self._key(text)] else tuple(once.values())

    def _key(self, text: str) -> str:
        """Return one text for all spellings of an address."""
        try:
            return self._normalisation.key(Address.parse(text))
        except ValueError:
            return text.lower()

    def _leave_out(self, example: str) -> None:
        self._bad += 1
        self._example = self._example or example


def _address(value: object, default_domain: str | None) -> str:
    """Return an address with its domain, in the notation of the recipient file. ValueError with a sentence for what is none."""
    text = text_of(value)
    if not text:
        raise ValueError("a row without an address")
    check_listed(text)
    if "@" in text and not text.endswith('"'):
        return text
    if default_domain is None:
        raise ValueError(f"{printable(text[:_SHOWN])} has no domain; write default_domain if such names have one")
    return f"{text}@{default_domain}"


def text_of(value: object) -> str:
    """Return a value as text, without the white space around it; empty for NULL."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode(errors="replace").strip()
    return "" if value is None else str(value).strip()


def _items(value: object) -> tuple[str, ...]:
    """Return the targets in a value: an array, a JSON array, or text with commas."""
    if isinstance(value, list | tuple):
        return tuple(filter(None, map(text_of, value)))
    text = text_of(value)
    if text.startswith("["):
        try:
            items = json.loads(text)
        except (ValueError, RecursionError):
            return (text,)
        return tuple(filter(None, map(text_of, items))) if isinstance(items, list) else (text,)
    return tuple(filter(None, map(str.strip, text.replace("\n", ",").split(","))))


def _shortened(key: bytes) -> bytes:
    """Return a key, or a digest in place of a long one: never one that another key has."""
    return key if len(key) <= _LONGEST_KEY else blake2b(key).digest()


def _yes(value: object) -> bool:
    """Return whether a value says yes: a moment does, `n`, 0 and NULL do not."""
    match value:
        case None:
            return False
        case bool() | int() | float() | Decimal():
            return bool(value)
        case bytes() | bytearray():
            return any(value) and _yes(value.decode("latin-1"))
        case str():
            return value.strip().lower() not in _NO
    return True
