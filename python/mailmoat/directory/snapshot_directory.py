"""The recipients as a directory: answers from the compiled snapshot that all workers map.

Promises: a lookup reads shared memory, without a system call; a snapshot that is missing, unreadable or damaged is
UNKNOWN, never ABSENT; once a snapshot is in force only a good one replaces it. Never compiles on behalf of the server
(`directory.snapshot` does). A worker calls `refresh` now and then, every second or so.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat._native import Directory as Snapshot
from mailmoat.directory.directory import Presence, Redirection
from mailmoat.mapped_file import MappedFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mailmoat._native import Address, Normalisation
    from mailmoat.directory.directory import Found


class _Found(IntEnum):
    """What the snapshot says of an address."""

    ABSENT = 0
    LISTED = 1
    DOMAIN = 2
    EXCLUDED = 3
    DAMAGED = 4
    ALIAS = 5
    ALIAS_DOMAIN = 6
    OTHER_ROUTE = 7
    CATCH_ALL = 8


_ANSWERS: Final[dict[int, Presence]] = {
    _Found.ABSENT: Presence.ABSENT,
    _Found.LISTED: Presence.EXISTS,
    _Found.DOMAIN: Presence.EXISTS,
    _Found.EXCLUDED: Presence.ABSENT,
    _Found.DAMAGED: Presence.UNKNOWN,
    _Found.ALIAS: Presence.EXISTS,
    _Found.ALIAS_DOMAIN: Presence.EXISTS,
    _Found.OTHER_ROUTE: Presence.ABSENT,
    _Found.CATCH_ALL: Presence.EXISTS,
}
_REASONS: Final = {
    _Found.ABSENT: "neither it nor its domain is listed",
    _Found.LISTED: "listed on {place}",
    _Found.DOMAIN: "every address at {domain} is listed on {place}",
    _Found.EXCLUDED: "excluded on {place}",
    _Found.DAMAGED: "the compiled recipient file is damaged",
    _Found.ALIAS: "listed on {place}, its mail goes to {targets}",
    _Found.ALIAS_DOMAIN: "every address at {target_domain} is listed on {place}, its mail goes to {targets}",
    _Found.CATCH_ALL: "every address at {domain} is listed on {place}, its mail goes to {targets}",
    _Found.OTHER_ROUTE: "@{domain} on {place} does not cover it: another server may read it as a route",
}
_ABSENT_ALIAS: Final = "{domain} is another name of a domain on {place}, at which it is not listed"


class Resolved(NamedTuple):
    """What the snapshot says of an address."""

    found: Found
    decides: bool
    """No other source is asked: it is there, an entry says that it does not exist, or there is no snapshot."""
    others: tuple[Address, ...] = ()
    """Where the domain of an address that is absent is another name of one: the address at that, and so on. The last one decides about it."""
    source: int = 0
    """The number of the source whose entry decides; 0 is the recipient file, also where no entry does."""
    entry: int = 0
    """The line or entry there; 0 where none decides."""


NOT_LISTED: Final = Resolved(Presence.ABSENT, decides=False)
"""What an empty snapshot says of each address."""


class SnapshotDirectory:
    """The recipients in the snapshot at `path`, which need not exist yet.

    `normalisation` is that of the settings it is compiled for; `sources` are the names of the tables that it is compiled from, by their numbers.
    """

    def __init__(self, path: Path, normalisation: Normalisation, sources: Mapping[int, str] | None = None) -> None:
        self._path = path
        self._normalisation = normalisation
        self._sources = sources or {}
        self.file = MappedFile(path, Snapshot)

    @property
    def usable(self) -> bool:
        """Whether a snapshot is in force."""
        return self.file.value is not None

    @property
    def entries(self) -> int:
        """Different entries in force; 0 without a snapshot."""
        snapshot = self.file.value
        return snapshot.entries if snapshot else 0

    @property
    def written_ms(self) -> int:
        """When the recipient file in force was written, milliseconds since the epoch; 0 without a snapshot."""
        snapshot = self.file.value
        return snapshot.stamp[0] // 1_000_000 if snapshot else 0

    def refresh(self) -> bool:
        """Map the snapshot anew if it was replaced, and say whether it was."""
        return self.file.refresh()

    def lookup(self, address: Address, client: str = "") -> Found:  # noqa: ARG002 - no server is asked
        """Say whether `address` exists, and who gets its mail if that is not itself."""
        return self.resolve(address).found

    def resolve(self, address: Address) -> Resolved:
        """Return all that the snapshot says of `address`."""
        snapshot = self.file.value
        if snapshot is None:
            return Resolved(Presence.UNKNOWN, decides=True)
        number, source, entry, _, targets = snapshot.resolve(address, self._normalisation)
        found: Found = Redirection(tuple(targets)) if targets and number else _ANSWERS[number]
        decides = found is not Presence.ABSENT or number == _Found.EXCLUDED
        return Resolved(found, decides, () if number else tuple(targets), source, entry)

    def explain(self, address: Address) -> str:
        """Say which entry of which source decides about `address`."""
        snapshot, error = self.file.value, self.file.error
        if snapshot is None:
            return f"{address}: unknown ({self._broken(error)})"
        number, source, line, listed, targets = snapshot.resolve(address, self._normalisation)
        found = _Found(number)
        reason = _ABSENT_ALIAS if found is _Found.ABSENT and line else _REASONS[found]
        why = reason.format(
            place=self._place(source, line),
            domain=address.domain,
            targets=" ".join(map(str, targets)),
            target_domain=targets[0].domain if targets else "",
        )
        return f"{address}: {_ANSWERS[found].value} ({f'as {listed}, {why}' if listed else why})"

    def table_state(self, number: int) -> str:
        """Return the identity and generation of a table as they were when the snapshot was made; empty where it was not read."""
        snapshot = self.file.value
        return "" if snapshot is None else dict(snapshot.tables).get(number, "")

    def _place(self, source: int, line: int) -> str:
        """Return where an entry is."""
        return f"entry {line} of {self._sources.get(source, source)}" if source else f"line {line}"

    def _broken(self, error: OSError | None) -> str:
        """Return why there is nothing to look up in."""
        if error is None or isinstance(error, FileNotFoundError):
            return "the recipient file is not compiled yet"
        return f"the compiled recipient file {self._path} cannot be used: {error.strerror or error}"
