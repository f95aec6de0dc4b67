"""How long 20,000 and a million rows take to read, what the reading process needs for it, and how soon a change is known.

The short form reads 20,000 rows of an SQLite file.

MAILMOAT_TEST_SOAK=1 .venv/bin/python -m pytest tests/integration/test_sql_soak.py -s
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sqlite3
import time
from pathlib import Path

import pytest
import uvloop
from tests.doubles.database import ACCOUNT
from tests.doubles.directory_source import row
from tests.doubles.kept_source import read_by
from tests.doubles.mariadb import MariaDB
from tests.doubles.postgresql import PostgreSQL

from mailmoat.directory.opening import open_sync
from mailmoat.directory_process.keeper import Keeper
from mailmoat.directory_process.table import Table

SOAK = os.environ.get("MAILMOAT_TEST_SOAK") == "1"
FAMILIES = ["postgresql", "mysql", "sqlite"] if SOAK else ["sqlite"]
COUNTS = (20_000, 1_000_000) if SOAK else (20_000,)
SCHEMA = "CREATE TABLE users(id integer PRIMARY KEY, email varchar(255) NOT NULL, modified timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);"
QUERY = "SELECT id, email AS address, modified AS changed FROM users"
LARGEST_GROWTH = 64 << 10
"""KiB that the reading process may grow by, however many rows there are."""


def resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 10


def keep(settings, path, pipe):
    """Run in a process of its own: read whole, say so, go on until a change is known."""

    async def main():
        moved = asyncio.Event()
        before = resident_kib()
        table = Table(Path(path), read_by("one"))
        keeper = Keeper(row(**settings), open_sync(row(**settings)), table, changed=moved.set, noted=lambda: None)
        task = asyncio.ensure_future(keeper.run())
        peak = before

        async def watch():
            nonlocal peak
            while True:
                peak = max(peak, resident_kib())
                await asyncio.sleep(0.05)

        watching = asyncio.ensure_future(watch())
        for _ in range(2):
            begun, processor = time.monotonic(), time.process_time()
            await moved.wait()
            moved.clear()
            pipe.send((time.monotonic() - begun, time.process_time() - processor, peak - before, table.entries))
        for one in (task, watching):
            one.cancel()
        await asyncio.wait((task, watching))

    uvloop.run(main())


def fill(family, count, server):
    numbers = {
        "postgresql": f"SELECT n, 'user' || n || '@example.com', now() - n * interval '1 second' FROM generate_series(1, {count}) n",
        "mysql": f"SELECT seq, CONCAT('user', seq, '@example.com'), now() - INTERVAL seq SECOND FROM seq_1_to_{count}",
        "sqlite": f"WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) SELECT n, 'user' || n || '@example.com', datetime('now', -n || ' seconds') FROM s",
    }[family]
    server(f"DROP TABLE IF EXISTS users; {SCHEMA} INSERT INTO users {numbers};")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_read_in_parts_and_a_change_is_known_at_once(family, tmp_path):
    if family == "sqlite":
        base = sqlite3.connect(tmp_path / "mail.db", isolation_level=None)
        check(family, {"url": f"sqlite://{tmp_path}/mail.db"}, base.executescript, tmp_path)
        return
    with {"postgresql": PostgreSQL, "mysql": MariaDB}[family]() as server:
        given = {"url": server.url, "account": ACCOUNT, "password_file": server.password_file, "tls": "none"}
        check(family, given, server.execute, tmp_path)


def check(family, given, execute, tmp_path):
    for count in COUNTS:
        fill(family, count, execute)
        settings = {
            **given,
            "interval": 1,
            "query": f"{QUERY} ORDER BY id",
            "changes_query": f"{QUERY} WHERE modified >= :since",
            "changes_overlap": 0,
        }
        if family == "postgresql":
            settings |= {"notify_channel": "recipients"}
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        reader = context.Process(target=keep, args=(settings, tmp_path / f"{count}.db", theirs))
        reader.start()
        seconds, processor, growth, entries = ours.recv()
        assert entries == count
        print(
            f"\n{family} {count}: {seconds:.1f} s, {processor:.1f} s of processor, {growth >> 10} MiB more at the most"
        )
        time.sleep(2)
        begun = time.monotonic()
        execute(
            "INSERT INTO users(id, email) VALUES(0, 'new@example.com');"
            + ("NOTIFY recipients;" if family == "postgresql" else "")
        )
        *_, growth, entries = ours.recv()
        assert entries == count + 1
        print(
            f"{family} {count}: a change known after {time.monotonic() - begun:.2f} s; {growth >> 10} MiB more at the most"
        )
        assert growth < LARGEST_GROWTH
        reader.join()
