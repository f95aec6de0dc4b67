"""Keeps the table of a source that is asked live for now, so that nothing has to be read anew, and the shrink guard has a measure, when it is synchronised again.

Promises: only a table of the same source is kept. It counts as never read until it is read again, for nobody follows the source meanwhile: who is in it
is accepted, and who is not is unknown, never absent.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from mailmoat.directory_process.table_schema import connect

if TYPE_CHECKING:
    from pathlib import Path


def set_aside(path: Path, url: str) -> bool:
    """Let the table at `path` count as never read; return whether it is there, whole, and that of the source at `url`. It must not be open."""
    if not path.exists():
        return False
    try:
        with closing(connect(path)) as base:
            base.execute("UPDATE state SET value=0 WHERE key='synced_ms'")
            return bool(base.execute("SELECT value FROM state WHERE key='url'").fetchone() == (url,))
    except (sqlite3.Error, OSError):  # as on a disk that is full, or read-only
        return False
