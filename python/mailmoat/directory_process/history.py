"""What the entries of a table had before they became others, so that a compile of the snapshot need not read those that are as they were.

Promises: it has each entry that became another one with a generation after `history_from`, and what that had before; never more than `MOST` rows and
those of one step, for a snapshot in which more is another is compiled whole. It changes in the transaction that is open. Raises sqlite3.Error.

    history  generation, entry, text: a row for each address that the entry had, and one without a text; for each generation also the entry 0,
             whose text is the digest of what was in force before it: so a generation is known again, and none of the same number passes for it
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat.directory_process.table_digest import written

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from mailmoat.directory.source import Listed

MOST: Final = 20_000


class History:
    """That of the table in a database."""

    def __init__(self, base: sqlite3.Connection) -> None:
        self._base = base

    def begin(self, generation: int) -> None:
        """Begin a history that has what comes after `generation`, where there is none."""
        self._base.execute("INSERT OR IGNORE INTO state VALUES('history_from', ?)", (generation,))

    def restart(self, generation: int) -> None:
        """Forget all; what comes after `generation` is kept."""
        self._base.execute("DELETE FROM history")
        self._base.execute("INSERT OR REPLACE INTO state VALUES('history_from', ?)", (generation,))

    def follow(self, generation: int, digest: int) -> None:
        """Keep that `generation` comes after what has this digest."""
        self._base.execute("INSERT OR IGNORE INTO history VALUES(?, 0, ?)", (generation, written(digest).hex()))

    def keep(self, generation: int, number: int, addresses: Iterable[Listed]) -> None:
        """Keep that the entry with this number becomes another one with `generation`, and what it had."""
        rows = ((generation, number, text) for text in ("", *(one.text for one in addresses)))
        self._base.executemany("INSERT OR IGNORE INTO history VALUES(?, ?, ?)", rows)

    def limit(self, generation: int) -> None:
        """Forget all when that is too much, what comes with `generation` as well."""
        if self._base.execute("SELECT count(*) FROM history").fetchone()[0] > MOST:
            self.restart(generation)
