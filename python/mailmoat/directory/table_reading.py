"""Reads the tables of sources without writing: for commands, and to name an entry. A server may write meanwhile; each call sees one state."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from mailmoat.directory.source import Entry, Listed
from mailmoat.errors import DirectoryError
from mailmoat.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def entry_name(path: Path, number: int) -> str:
    """Return the name of an entry of the table at `path`; empty when it cannot be read or is there no more."""
    try:
        with _open(path) as base:
            found = base.execute("SELECT name FROM entry WHERE number=?", (number,)).fetchone()
    except DirectoryError:
        return ""
    return printable(found[0]) if found else ""


def entries_of(path: Path) -> Iterator[Entry]:
    """Yield the entries of the table at `path`, in the order of their numbers. DirectoryError when it cannot be read."""
    query = "SELECT number, id, name, text, targets FROM entry JOIN address ON entry = number ORDER BY number, text"
    with _open(path) as base:
        base.execute("BEGIN")
        for (_, entry_id, name), rows in groupby(base.execute(query), itemgetter(0, 1, 2)):
            yield Entry(entry_id, name, tuple(listed(text, targets) for *_, text, targets in rows))


def listed(text: str, targets: str) -> Listed:
    """Return an address as a row of the table has it: its targets are lines."""
    return Listed(text, tuple(filter(None, targets.split("\n"))))


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        base = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10.0)
        try:
            yield base
        finally:
            base.close()
    except sqlite3.Error as error:
        raise DirectoryError(f"{path}: {error}") from None
