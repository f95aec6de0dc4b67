"""The real server with its recipients in a real database: read, told, asked, and never "user unknown" while the database is away."""

from __future__ import annotations

import time

import pytest
from tests.doubles.database import ACCOUNT
from tests.doubles.mariadb import MariaDB
from tests.doubles.postgresql import PostgreSQL
from tests.integration.test_directory_process import code, rows
from tests.needs import need_module

SCHEMA = """
CREATE TABLE users(id integer PRIMARY KEY, email varchar(255) NOT NULL UNIQUE, active smallint NOT NULL DEFAULT 1,
                   modified timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);
INSERT INTO users(id, email) VALUES(1, 'ann@example.test'), (2, 'dan@example.test');
"""
COLUMNS = "SELECT id, email AS address, active, modified AS changed FROM users"


def row(database, **given):
    access = {"account": ACCOUNT, "password_file": str(database.password_file), "tls": "none"}
    return {
        "name": "users",
        "url": database.url,
        "interval": "0.5s",
        "timeout": "1s",
        "query_timeout": "1s",
        **access,
        **given,
    }


def test_a_change_in_the_database_is_a_change_of_replies(server):
    need_module("asyncpg")
    with PostgreSQL() as database:
        database.execute(SCHEMA)
        queries = {
            "query": f"{COLUMNS} ORDER BY id",
            "changes_query": f"{COLUMNS} WHERE modified >= :since ORDER BY id",
        }
        mx = server(**rows(row(database, **queries, notify_channel="recipients", max_age="6s")))
        mx.until(lambda: code(mx, "ann@example.test") == 250, what="the first read")
        mx.until(lambda: code(mx, "eve@example.test") == 550, what="the source to be in force")
        begun = time.monotonic()
        database.execute("INSERT INTO users(id, email) VALUES(3, 'eve@example.test'); NOTIFY recipients")
        mx.until(lambda: code(mx, "eve@example.test") == 250, what="a new row")
        print(f"a new row is in force after {time.monotonic() - begun:.2f} s")
        database.execute("UPDATE users SET active = 0, modified = now() WHERE id = 3; NOTIFY recipients")
        mx.until(lambda: code(mx, "eve@example.test") == 550, what="a row that does not count any more")
        database.hang()
        mx.until(lambda: mx.logged("directory-source-failed"), what="the outage")
        answers = {code(mx, "ann@example.test")}
        database.go_on()
        mx.until(lambda: mx.logged("directory-source-back"), what="the end of it")
        database.kill()
        mx.until(lambda: code(mx, "eve@example.test") == 451, what="the source to be too old")
        answers |= {code(mx, "ann@example.test"), code(mx, "dan@example.test")}
        assert answers == {250}
        database.start()
        mx.until(lambda: code(mx, "eve@example.test") == 550, what="the source to be in force again")


@pytest.mark.timeout(120)
def test_a_database_is_asked_for_each_address(server):
    need_module("asyncmy")
    with MariaDB() as database:
        database.execute(SCHEMA)
        lookup = "SELECT active FROM users WHERE email = :address"
        mx = server(**rows(row(database, mode="live", lookup_query=lookup, cache_time="0s", absent_cache_time="0s")))
        mx.until(lambda: code(mx, "ann@example.test") == 250, what="the first answer")
        assert [code(mx, f"{name}@example.test") for name in ("dan", "eve", "ANN+tag")] == [250, 550, 250]
        database.execute("UPDATE users SET active = 0 WHERE id = 2")
        assert code(mx, "dan@example.test") == 550
        for fail, recover in ((database.hang, database.go_on), (database.kill, database.start)):
            fail()
            assert {code(mx, f"{name}@example.test") for name in ("ann", "dan", "eve")} <= {250, 451}
            recover()
            mx.until(lambda: code(mx, "ann@example.test") == 250, what="the database to answer again")
