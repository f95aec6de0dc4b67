"""What the table of a source says of itself: keys with their values, and what these mean. `Table` adds the entries, and is what changes both.

* version: of the database; url: where the source is
* identity: by what it was read, and behind a dot a mark of this database alone: generations of another one are others; nothing before the dot =
  the entries are those of no settings
* bounds: within which all entries are
* cookie, generation (0 = nothing was read whole), synced_ms, losses, digest
* held: why something was held back after that
* entries, addresses: how many are in force; those that exclude an address are none
* next: number of the next entry
* history_from: the generation after which the history has all changes
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mailmoat.directory.bounds import Bounds
from mailmoat.directory.identity import Identity, was_read_by
from mailmoat.directory.shrinkage import Losses, Stock
from mailmoat.directory_process.table_file import TableFile

if TYPE_CHECKING:
    from pathlib import Path


class TableState(TableFile):
    """That of the table in the file at `path`, for a source that is read by `identity`. Raises DirectoryError."""

    def __init__(self, path: Path, identity: Identity) -> None:
        self.identity = identity
        super().__init__(path)

    @property
    def generation(self) -> int:
        """Another one after each change of recipients; 0 = nothing was read whole yet."""
        return int(self._state("generation", 0))

    @property
    def state(self) -> str:
        """Identity, generation and digest of what is in force, as the snapshot has them; empty when nothing is.

        When the machine crashes, the last changes may be lost and their generations come again with others: the digest tells them apart.
        """
        if not self.generation:
            return ""
        return f"{self._state('identity', '')} {self.generation}.{self._state('digest', b'').hex()}"

    @property
    def entries(self) -> int:
        """Entries in force."""
        return int(self._state("entries", 0))

    @property
    def stock(self) -> Stock:
        """Entries and addresses in force."""
        return Stock(self.entries, self._state("addresses", 0))

    @property
    def synced_ms(self) -> int:
        """When the source said last that this is how it is, milliseconds since the epoch; 0 = never."""
        return int(self._state("synced_ms", 0))

    @property
    def cookie(self) -> bytes | None:
        """Where to go on; None = with a full read, for other settings among other reasons."""
        return self._state("cookie", None) if self.read_by(self.identity) else None

    @property
    def losses(self) -> Losses:
        """What was lost of late."""
        return Losses.read(self._state("losses", ""))

    @property
    def bounds(self) -> Bounds | None:
        """Within which all entries are; None when that is not known."""
        return Bounds.read(self._state("bounds", ""))

    def read_by(self, identity: Identity) -> bool:
        """Return whether the entries are what a source has that is read by `identity`."""
        return was_read_by(identity.digest, self._state("identity", ""))

    def _state(self, key: str, default: Any) -> Any:
        found = self._row("SELECT value FROM state WHERE key=?", key)
        return found[0] if found else default

    def _set(self, **values: object) -> None:
        self._base.executemany("INSERT OR REPLACE INTO state VALUES(?, ?)", values.items())
