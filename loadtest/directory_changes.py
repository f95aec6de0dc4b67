"""How soon a change of one user counts in a source of a million entries, from the commit in the database to the reply to RCPT.

`python -m loadtest.directory_changes` fills an SQLite database, starts a server that follows its changes (asked for each 0.1 s) and waits until all
is read. Then users are added and deleted, one after the other without a pause. `source` is when the table of the directory process has it, `rcpt` when
a new RCPT is answered by it; the worker looks for a new snapshot once a second. With `--other PATH` the build of another checkout is
measured, too. Nothing is sent anywhere.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loadtest.processes import ROOT, end_tidily, wait_for
from loadtest.servers import DOMAIN, Running, Setup, start_mailmoat

if TYPE_CHECKING:
    from collections.abc import Sequence

QUERY: Final = "SELECT id, email AS address, active, modified AS changed FROM users"
LONGEST_READ: Final = 900.0
"""Seconds for the first full read."""
LONGEST_CHANGE: Final = 60.0
PAUSE: Final = 0.01
"""Seconds between two looks."""


def fill(path: Path, entries: int) -> sqlite3.Connection:
    """Make the database of users; return a connection that commits each statement."""
    base = sqlite3.connect(path, isolation_level=None)
    base.executescript(f"""
        PRAGMA journal_mode=WAL;
        CREATE TABLE users(id INTEGER PRIMARY KEY, email TEXT, active INTEGER, modified INTEGER);
        WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {entries})
        INSERT INTO users SELECT n, 'given.family' || n || '@{DOMAIN}', 1, 0 FROM s;
        CREATE INDEX changes ON users(modified);
    """)
    return base


def rows(database: Path) -> str:
    """Return the settings of the source."""
    return f"""
[[directories]]
name = "users"
url = "sqlite://{database}"
query = "{QUERY} ORDER BY id"
changes_query = "{QUERY} WHERE modified > :since"
changes_overlap = 0
interval = "0.1s"
"""


class Asking:
    """A session in which one RCPT after the other is sent."""

    def __init__(self, port: int) -> None:
        self._peer = socket.create_connection(("127.0.0.1", port))
        self._replies = self._peer.makefile("rb")
        self._reply()
        self._say("EHLO client.sender.example")

    def exists(self, number: int) -> bool:
        """Return whether the user with this number is known."""
        self._say("RSET")
        self._say("MAIL FROM:<sender@sender.example>")
        return self._say(f"RCPT TO:<given.family{number}@{DOMAIN}>").startswith(b"250")

    def _say(self, line: str) -> bytes:
        self._peer.sendall(f"{line}\r\n".encode())
        return self._reply()

    def _reply(self) -> bytes:
        while (reply := self._replies.readline())[3:4] == b"-":
            pass
        return reply


def generation(table: Path) -> int:
    """Return the generation of a table of the directory process."""
    with contextlib.closing(sqlite3.connect(table)) as base:
        found = base.execute("SELECT value FROM state WHERE key='generation'").fetchone()
    return int(found[0]) if found else 0


def change(base: sqlite3.Connection, number: int, asking: Asking, table: Path, *, active: bool) -> tuple[float, float]:
    """Add a user, or make one inactive; return seconds until the table of the source has it, and until RCPT says so."""
    before, begun, known = generation(table), time.monotonic(), 0.0
    base.execute(
        "INSERT OR REPLACE INTO users SELECT ?, ?, ?, max(modified) + 1 FROM users",
        (number, f"given.family{number}@{DOMAIN}", active),
    )
    while (passed := time.monotonic() - begun) < LONGEST_CHANGE:
        if not known and generation(table) != before:
            known = passed
        if asking.exists(number) is active:
            return known or passed, passed
        time.sleep(PAUSE)
    raise RuntimeError(f"no change within {LONGEST_CHANGE:.0f} s")


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the largest, in seconds."""
    return {"median": round(statistics.median(values), 2), "largest": round(max(values), 2)}


def measure(checkout: Path, entries: int, changes: int, scratch: Path) -> dict[str, object]:
    """Make changes in a source of a server of `checkout`."""
    database = scratch / "users.db"
    base = fill(database, entries)
    begun = time.monotonic()
    extra = {"MAILMOAT_RECIPIENTS__FILE": ""}
    server: Running = start_mailmoat(scratch, Setup(workers=1), extra, rows(database), checkout)
    try:
        asking, table = Asking(server.port), scratch / "spool" / "directory" / "users.db"
        wait_for(lambda: asking.exists(entries), "the first full read", LONGEST_READ)
        read = time.monotonic() - begun
        cpu, begun = server.tree.cpu(), time.monotonic()
        times = [
            change(base, entries + 1 + number // 2, asking, table, active=number % 2 == 0) for number in range(changes)
        ]
        seconds = time.monotonic() - begun
        return {
            "first_read": round(read, 1),
            "changes": changes,
            "source": summary([each[0] for each in times]),
            "rcpt": summary([each[1] for each in times]),
            "rcpt_each": [round(each[1], 2) for each in times],
            "cpu_share": round((server.tree.cpu() - cpu) / seconds, 2),
        }
    finally:
        server.stop()
        base.close()


def main() -> None:
    """Measure, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--changes", type=int, default=20)
    parser.add_argument("--other", type=Path)
    arguments = parser.parse_args()
    end_tidily()
    figures = {}
    for checkout in filter(None, (arguments.other, ROOT)):
        with tempfile.TemporaryDirectory(prefix="mailmoat-changes-") as scratch:
            figures[str(checkout)] = measure(checkout, arguments.entries, arguments.changes, Path(scratch))
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
