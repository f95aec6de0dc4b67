"""The file of a table: an open database, which is begun anew where it is damaged or not at its place any more.

Promises: whatever fails in it is a DirectoryError. Where the disk is full, all that is tried says so until there is room.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from mailmoat.directory_process.table_schema import connect, file_of, is_damaged, renew
from mailmoat.errors import DirectoryError
from mailmoat.files import make_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class TableFile:
    """The one at `path`, which is made where it is not there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._renewing = False
        try:
            make_directory(path.parent)
        except OSError as error:
            raise DirectoryError(f"{path.parent} cannot be made: {error.strerror}") from None
        with self._failing():
            self._begin(connect(path))

    def _begin(self, base: sqlite3.Connection) -> None:
        """Take a database into use."""
        self._base, self._file = base, file_of(self.path)

    @property
    def is_there(self) -> bool:
        """Whether the file at its place is still the one that is written, and no shorter than it was: else nobody reads what is written.

        A database never becomes shorter by itself.
        """
        before, now = self._file, file_of(self.path)
        if before is None or now is None or now[:2] != before[:2] or now[2] < before[2]:
            return False
        self._file = now
        return True

    def undo(self) -> None:
        """Forget what was applied and is not settled."""
        with suppress(sqlite3.Error):
            if self._base.in_transaction:
                self._base.execute("ROLLBACK")

    def close(self) -> None:
        """Close the database."""
        with suppress(sqlite3.Error):
            self._base.close()

    def _row(self, query: str, *parameters: object) -> Any:
        try:
            return self._base.execute(query, parameters).fetchone()
        except sqlite3.Error as error:
            raise self._failed(error) from None

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._failed(error) from None

    def _failed(self, error: sqlite3.Error | OSError) -> DirectoryError:
        """Return what to say of an error; a database that is damaged is begun anew, but for one that was begun just now."""
        if isinstance(error, sqlite3.Error) and is_damaged(error) and not self._renewing:
            self._renew()
        return DirectoryError(f"{self.path}: {error}")

    def _check_place(self) -> None:
        """Begin anew where the file that was written is not at its place any more. DirectoryError then: nothing is known."""
        if not self.is_there:
            self._renew()
            raise DirectoryError(f"{self.path} was removed, replaced or cut short; it is begun anew")

    def _renew(self) -> None:
        """Begin an empty database. The one before is open until then: the disk may be full."""
        self._renewing = True
        try:
            with self._failing():
                base = renew(self.path)
                with closing(self._base):
                    self._begin(base)
        finally:
            self._renewing = False
