"""The database of a table: what is in it, and a connection that writes; one that is damaged, or of another version, is begun anew. Raises sqlite3.Error, OSError."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS state(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entry(number INTEGER PRIMARY KEY, id BLOB UNIQUE, name TEXT);
CREATE TABLE IF NOT EXISTS address(entry INTEGER, text TEXT, targets TEXT, PRIMARY KEY(entry, text)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS history(generation INTEGER, entry INTEGER, text TEXT, PRIMARY KEY(generation, entry, text)) WITHOUT ROWID;
"""
SHADOW: Final = """
CREATE TABLE shadow_entry(number INTEGER PRIMARY KEY, id BLOB UNIQUE, name TEXT);
CREATE TABLE shadow_address(entry INTEGER, text TEXT, targets TEXT, PRIMARY KEY(entry, text)) WITHOUT ROWID;
"""
SWAP: Final = """
ALTER TABLE entry RENAME TO old_entry;
ALTER TABLE address RENAME TO old_address;
ALTER TABLE shadow_entry RENAME TO entry;
ALTER TABLE shadow_address RENAME TO address;
"""
_CACHE_KIB: Final = 8192
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection to the database at `path`, which is made where it is not there."""
    try:
        base = _connected(path)
        found = base.execute("SELECT value FROM state WHERE key='version'").fetchone()
    except sqlite3.Error as error:
        if not is_damaged(error):
            raise  # the disk is full, or the file is not ours to write: it may be good
        return renew(path)
    if found is None or found[0] == VERSION:
        return base
    base.close()
    return renew(path)


def is_damaged(error: sqlite3.Error) -> bool:
    """Return whether this error says that the file is no whole database; where it is, it stays so."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def renew(path: Path) -> sqlite3.Connection:
    """Return a connection to an empty database in place of the one at `path`."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return _connected(path)


def _connected(path: Path) -> sqlite3.Connection:
    base = sqlite3.connect(path, isolation_level=None, timeout=1.0)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA synchronous=NORMAL")
    base.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    execute(base, _SCHEMA)
    return base


def execute(base: sqlite3.Connection, script: str) -> None:
    """Execute statements, in the transaction that is open: `executescript` would commit it."""
    for statement in filter(str.strip, script.split(";")):
        base.execute(statement)


def file_of(path: Path) -> tuple[int, int, int] | None:
    """Return what tells the file at `path` from another one, and its size; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size
