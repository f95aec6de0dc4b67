"""Recipients in real databases: a PostgreSQL and a MariaDB that the tests start, and SQLite; read, changed, asked, and in all kinds of distress.

What is known of a source is in its table, kept by the keeper that the directory process has.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from tests.certificates import Authority
from tests.doubles.database import ACCOUNT, PASSWORD
from tests.doubles.kept_source import read_by
from tests.doubles.mariadb import MariaDB
from tests.doubles.postgresql import PostgreSQL
from tests.integration.conftest import free_port
from tests.needs import need_module

from mailmoat._native import Address
from mailmoat.directory.directory import Presence
from mailmoat.directory.freshness import SyncState
from mailmoat.directory.opening import open_live, open_sync
from mailmoat.directory.source import LiveAnswer, Whole
from mailmoat.directory.sql.databases import database_of
from mailmoat.directory.sql.placeholders import POSTGRESQL, prepare
from mailmoat.directory.sql.sqlite import SqliteConnection
from mailmoat.directory_process.keeper import Keeper
from mailmoat.directory_process.table import Table
from mailmoat.errors import LookupFailedError, SourceError
from mailmoat.settings import Settings
from mailmoat.settings.sections.directories import merged

SOAK = os.environ.get("MAILMOAT_TEST_SOAK") == "1"
SERVERS = {"postgresql": PostgreSQL, "mysql": MariaDB}
MODULES = {"postgresql": "asyncpg", "mysql": "asyncmy"}
QUERY = "SELECT id, email AS address, goto AS targets, active, modified AS changed FROM users"
BY_TIME = {"query": f"{QUERY} ORDER BY id", "changes_query": f"{QUERY} WHERE modified >= :since ORDER BY id"}
LOOKUP = "SELECT email AS address, goto AS targets, active FROM users WHERE email = :address"
SCHEMA = """
CREATE TABLE users(id integer PRIMARY KEY, email varchar(255) NOT NULL UNIQUE, goto text, active smallint NOT NULL DEFAULT 1,
                   modified timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);
INSERT INTO users(id, email) VALUES(1, 'alice@example.com'), (2, 'bob@example.com'), (3, 'carol@example.com');
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def servers(authority):
    """Each kind of server is started once for all tests, when the first one asks for it."""
    started = {}

    def server(family):
        if family not in started:
            need_module(MODULES[family])
            started[family] = SERVERS[family](authority)
            started[family].start()
        return started[family]

    yield server
    for one in started.values():
        one.__exit__()


@pytest.fixture(params=["postgresql", "mysql"])
def server(request, servers):
    """A server with three users."""
    found = servers(request.param)
    if found.process is None:
        found.start()
    found.execute(f"DROP TABLE IF EXISTS users;{SCHEMA}")
    return found


@pytest.fixture
def row(authority, tmp_path):
    def make(server=None, **given):
        if server is not None:
            given = {
                "url": server.url,
                "account": ACCOUNT,
                "password_file": str(server.password_file),
                "tls_ca": str(authority.certificate),
                **given,
            }
        tree = Settings(
            hostname="mx.example.test", directories=[{"name": "db", "interval": 0.2, "timeout": 2, **given}]
        )
        return merged(tree.directory, tree.directories[0])

    return make


class Followed:
    """A source that is kept."""

    def __init__(self, row, path: Path):
        self.table = Table(path, read_by("one"))
        self._moved = asyncio.Event()
        self.keeper = Keeper(row, open_sync(row), self.table, changed=lambda: None, noted=self._moved.set)

    async def until(self, true):
        try:
            async with asyncio.timeout(30):
                while not true():
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            raise AssertionError((self.keeper.freshness, self.addresses()[:9])) from None

    async def reads(self, *addresses):
        await self.until(lambda: self.addresses() == sorted(addresses))

    async def fails(self, *words):
        await self.until(lambda: all(word in self.keeper.freshness.reason for word in words))
        assert self.keeper.freshness.state is SyncState.FAILED
        assert PASSWORD not in self.keeper.freshness.reason

    def addresses(self):
        return sorted(one.text for entry in self.table.all() for one in entry.addresses)


@asynccontextmanager
async def followed(row, tmp_path):
    found = Followed(row, tmp_path / "db.db")
    task = asyncio.ensure_future(found.keeper.run())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.wait([task])
        found.table.close()


async def exhaust(steps):
    async for step in steps:
        assert not isinstance(step, Whole)


THREE = ("alice@example.com", "bob@example.com", "carol@example.com")


def test_a_table_is_read_whole_and_then_its_changes(server, row, tmp_path):
    async def main():
        async with followed(row(server, **BY_TIME), tmp_path) as source:
            await source.reads(*THREE)
            assert source.keeper.freshness.server == server.url
            server.execute("UPDATE users SET active = 0, modified = CURRENT_TIMESTAMP WHERE id = 1")
            await source.reads(*THREE[1:])
            server.execute(
                "UPDATE users SET email = 'x@example.com', goto = 'bob@example.com, y@example.org', modified = CURRENT_TIMESTAMP WHERE id = 3"
            )
            await source.reads("bob@example.com", "x@example.com")
            assert source.table.entry(b"3").addresses[0].targets == ("bob@example.com", "y@example.org")
            server.execute("INSERT INTO users(id, email) VALUES (4, 'dora@example.com')")
            await source.reads("bob@example.com", "dora@example.com", "x@example.com")
            generation = source.table.generation
            before = source.table.synced_ms
            await source.until(lambda: source.table.synced_ms > before)
            assert source.table.generation == generation

    uvloop.run(main())


def test_a_restart_goes_on_where_it_was(server, row, tmp_path):
    async def main():
        settings = row(server, **BY_TIME)
        async with followed(settings, tmp_path) as source:
            await source.reads(*THREE)
            cookie = source.table.cookie
        server.execute("DELETE FROM users WHERE id = 1; INSERT INTO users(id, email) VALUES (5, 'new@example.com')")
        async with followed(settings, tmp_path) as source:
            assert source.table.cookie == cookie
            await source.reads(*THREE, "new@example.com")  # what was deleted is noticed by the full read

    uvloop.run(main())


def test_what_was_deleted_is_noticed_by_a_full_read(server, row, tmp_path):
    async def main():
        async with followed(row(server, **BY_TIME, full_interval=0.5), tmp_path) as source:
            await source.reads(*THREE)
            server.execute("DELETE FROM users WHERE id = 1")
            await source.reads(*THREE[1:])

    uvloop.run(main())


def test_half_of_a_result_changes_nothing(server, row):
    """The server is killed when it has sent a part of the rows: more than any buffer holds."""
    many = ",".join(f"({number}, 'u{number}@example.com')" for number in range(10, 1500))
    server.execute(f"INSERT INTO users(id, email) VALUES {many}")
    query = "SELECT CONCAT(u.id, 'x', v.id, '@example.com') AS address FROM users u CROSS JOIN users v"

    async def main():
        steps = open_sync(row(server, query=query)).steps(None, {})
        for _ in range(4):
            await anext(steps)  # Using, Begin, and two parts
        server.kill()
        with pytest.raises(SourceError) as raised:
            await exhaust(steps)
        assert server.url in str(raised.value)

    uvloop.run(main())
    server.start()


def test_a_server_that_is_killed_hangs_or_comes_back(server, row, tmp_path):
    async def main():
        async with followed(row(server, **BY_TIME, query_timeout=1, timeout=1), tmp_path) as source:
            await source.reads(*THREE)
            server.hang()
            try:
                await source.fails(server.url, "no answer in time")
            finally:
                server.go_on()
            server.execute("INSERT INTO users(id, email) VALUES (6, 'after@example.com')")
            await source.reads("after@example.com", *THREE)
            server.kill()
            await source.fails(server.url, "no connection")
            assert source.addresses() == sorted(("after@example.com", *THREE))
            await asyncio.to_thread(server.start)
            await source.until(lambda: source.keeper.freshness.state is SyncState.CURRENT)

    uvloop.run(main())


def test_a_slow_query_is_given_up_here_and_there(server, row, tmp_path):
    sleep = {"postgresql": "pg_sleep(60)", "mysql": "sleep(60)"}[server.family]

    async def main():
        settings = row(server, query=f"SELECT email AS address FROM users WHERE {sleep} IS NOT NULL", query_timeout=0.4)
        async with followed(settings, tmp_path) as source:
            await source.fails(server.url)
            assert source.keeper.freshness.reason.endswith(("no answer in time", "the query took too long"))

    uvloop.run(main())
    running = {
        "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mailmoat' AND state = 'active'",
        "mysql": "SELECT count(*) FROM information_schema.processlist WHERE user = 'reader' AND command = 'Query'",
    }[server.family]
    deadline = time.monotonic() + 20
    while server.execute(running).strip() != "0":
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT email AS address FROM persons", ["query: ", "persons"]),
        ("SELECT mail AS address FROM users", ["mail"]),
        ("SELEC email AS address FROM users", ["syntax"]),
        ("SELECT email, goto FROM users", ["query: it gives the columns email, goto", "SELECT email AS address"]),
        ("DELETE FROM users", ["query", "DELETE"]),
        ("CREATE TABLE x(y integer)", []),
    ],
)
def test_a_wrong_query_is_named(server, row, tmp_path, query, words):
    async def main():
        async with followed(row(server, query=query), tmp_path) as source:
            await source.until(lambda: source.keeper.freshness.reason)
            for word in words:
                assert word in source.keeper.freshness.reason
        with pytest.raises(SourceError) as raised:
            await open_sync(row(server, query=query)).probe()
        for word in words:
            assert word in str(raised.value)

    uvloop.run(main())
    assert server.execute("SELECT count(*) FROM users").strip() == "3"


def test_an_empty_result_changes_nothing(server, row, tmp_path):
    async def main():
        async with followed(row(server, query=QUERY), tmp_path) as source:
            await source.reads(*THREE)
            server.execute("DELETE FROM users")
            await source.until(lambda: source.keeper.freshness.state is SyncState.SHRUNK)
            assert source.addresses() == sorted(THREE)

    uvloop.run(main())


def test_another_schema_changes_nothing(server, row, tmp_path):
    async def main():
        async with followed(row(server, **BY_TIME), tmp_path) as source:
            await source.reads(*THREE)
            server.execute("ALTER TABLE users RENAME COLUMN email TO mail")
            await source.fails("email")
            server.execute("ALTER TABLE users RENAME COLUMN mail TO email")
            server.execute("INSERT INTO users(id, email) VALUES (7, 'again@example.com')")
            await source.reads("again@example.com", *THREE)

    uvloop.run(main())


def test_a_connection_that_was_lost_is_an_outage(server, row):
    """The driver raises errors of its own, some of them not where something is awaited."""

    async def main():
        settings = row(server, query=QUERY)
        database, query = database_of(settings), prepare("query", QUERY, (), POSTGRESQL)
        for use in (lambda one: anext(one.read(query, {})), lambda one: one.ask(query, {})):
            connection = await database.open(settings.url.servers[0], 1.0)
            connection.abort()
            with pytest.raises(SourceError, match=server.url):
                await use(connection)

    uvloop.run(main())


GARBAGE = (b"", b"\0" * 100, b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 5000, b"\x4a\0\0\0\x0a5.5.5-10.0-MariaDB\0" + b"\xff" * 200, b"R\0\0\0\x08\0\0\0\0" + b"\xff" * 500, b"N", b"S")  # fmt: skip


@pytest.mark.parametrize("family", ["postgresql", "mysql"])
@pytest.mark.parametrize("tls", ["none", "verify"])
def test_a_peer_that_is_no_database_is_an_outage(family, tls, row, tmp_path):
    need_module(MODULES[family])

    async def talk(reader, writer, said):
        writer.write(said)
        if len(said) % 2:
            await reader.read(1000)
        writer.close()

    async def main():
        for said in GARBAGE:
            port = free_port()
            peer = await asyncio.start_server(lambda r, w, said=said: talk(r, w, said), "127.0.0.1", port)
            settings = row(url=f"{family}://127.0.0.1:{port}/mail", account="reader", query=QUERY, tls=tls, timeout=0.3)
            with pytest.raises(SourceError) as raised:
                await exhaust(open_sync(settings).steps(None, {}))
            assert f"{family}://127.0.0.1:{port}/mail: " in str(raised.value)
            peer.close()

    uvloop.run(main())


def test_another_server_is_asked_when_the_preferred_one_is_gone(server, row, tmp_path):
    async def main():
        dead = f"{server.family}://127.0.0.1:{free_port()}/mail"
        async with followed(row(server, **BY_TIME, url=f"{dead}, {server.url}"), tmp_path) as source:
            await source.reads(*THREE)
            assert source.keeper.freshness.server == server.url
        probed = await open_sync(row(server, **BY_TIME, url=f"{dead}, {server.url}")).probe()
        assert probed.server.startswith(server.url)
        assert any(dead in remark for remark in probed.remarks)

    uvloop.run(main())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"account": "nobody"}, ["nobody"]),
        ({"tls_ca": None}, ["its certificate is refused"]),
        ({"tls_ca": "/missing"}, ["tls_ca"]),
        ({"password_file": "/missing"}, ["/missing cannot be read"]),
    ],
)
def test_a_connection_that_is_refused_says_why(server, row, given, words):
    async def main():
        with pytest.raises(SourceError) as raised:
            await open_sync(row(server, query=QUERY, **given)).probe()
        for word in words:
            assert word in str(raised.value)
        assert PASSWORD not in str(raised.value)

    uvloop.run(main())


def test_a_unix_socket_needs_no_tls(server, row):
    async def main():
        probed = await open_sync(row(server, query=QUERY, url=server.socket_url)).probe()
        assert probed.entries == 3
        assert ("PostgreSQL" if server.family == "postgresql" else "MariaDB") in probed.server

    uvloop.run(main())


def test_what_was_found_is_said(server, row):
    server.execute("INSERT INTO users(id, email) VALUES(8, 'no address at all'), (9, '@example.net')")

    async def main():
        probed = await open_sync(row(server, **BY_TIME)).probe()
        assert (probed.place, probed.entries) == ("5 rows of query", 5)
        assert [entry.name for entry in probed.sample] == ["id 1", "id 2", "id 3"]
        [remark] = probed.remarks
        assert "no address at all is no address" in remark
        probed = await open_sync(row(server, query="SELECT 1 AS id, email AS address FROM users")).probe()
        assert any("ORDER BY id" in remark for remark in probed.remarks)

    uvloop.run(main())


HOSTILE = ("o'x@example.com", '"\\" OR 1=1 --"@example.com', "'or''='@example.com", "%@example.com", "_lice@example.com", "$1@example.com")  # fmt: skip


def test_an_address_is_looked_up(server, row):
    server.execute(
        "UPDATE users SET active = 0 WHERE id = 2; UPDATE users SET goto = 'x@example.org, carol@example.com' WHERE id = 3"
    )

    async def main():
        source = open_live(row(server, mode="live", lookup_query=LOOKUP))
        found = {
            one: await source.lookup(Address.parse(one))
            for one in (*THREE, "Alice@EXAMPLE.com", "nobody@example.com", *HOSTILE)
        }
        assert found["alice@example.com"] == LiveAnswer(Presence.EXISTS, (), "alice@example.com")
        assert found["Alice@EXAMPLE.com"].presence is Presence.EXISTS
        assert found["bob@example.com"].presence is Presence.ABSENT
        assert found["carol@example.com"].targets == ("x@example.org", "carol@example.com")
        assert {found[one].presence for one in ("nobody@example.com", *HOSTILE)} == {Presence.ABSENT}
        server.execute("INSERT INTO users(id, email) VALUES (10, 'o''x@example.com')")
        assert (await source.lookup(Address.parse("o'x@example.com"))).presence is Presence.EXISTS
        assert (await source.probe()).place == "lookup_query"
        await source.close()
        parts = open_live(
            row(
                server,
                mode="live",
                lookup_query="SELECT 1 AS one FROM users WHERE :local = 'alice' AND :domain = 'example.com'",
            )
        )
        assert (await parts.lookup(Address.parse("Alice@example.com"))).presence is Presence.EXISTS
        await parts.close()

    uvloop.run(main())


def test_a_question_that_fails_is_no_outage(server, row):
    """An address for which the query fails, as strangers may find: the server is there, and others are answered on the same connections."""

    async def main():
        query = f"{LOOKUP} AND 1 = (SELECT 1 UNION SELECT 2 WHERE :local = 'odd')"
        source = open_live(row(server, mode="live", lookup_query=query))
        alice, odd = Address.parse("alice@example.com"), Address.parse("odd@example.com")
        for _ in range(5):
            with pytest.raises(LookupFailedError):
                await source.lookup(odd)
            assert (await source.lookup(alice)).presence is Presence.EXISTS
        await source.close()

    uvloop.run(main())


def test_an_outage_is_never_an_absence(server, row):
    async def main():
        source = open_live(row(server, mode="live", lookup_query=LOOKUP, timeout=1))
        alice = Address.parse("alice@example.com")
        answers = await asyncio.gather(*(source.lookup(alice) for _ in range(30)))
        assert {answer.presence for answer in answers} == {Presence.EXISTS}
        server.hang()
        try:
            with pytest.raises(SourceError, match="no answer in time"):
                await source.lookup(alice)
        finally:
            server.go_on()
        assert (await source.lookup(alice)).presence is Presence.EXISTS
        server.kill()
        with pytest.raises(SourceError):
            await source.lookup(alice)
        await asyncio.to_thread(server.start)
        assert (await source.lookup(alice)).presence is Presence.EXISTS
        server.execute("ALTER TABLE users RENAME COLUMN email TO mail")
        with pytest.raises(SourceError, match="email"):
            await source.lookup(alice)
        await source.close()

    uvloop.run(main())


def test_a_lookup_goes_to_the_next_server_when_one_is_silent(server, row):
    async def silent(reader, writer):
        await reader.read()
        writer.close()

    async def main():
        port = free_port()
        peer = await asyncio.start_server(silent, "127.0.0.1", port)
        urls = f"{server.family}://127.0.0.1:{port}/mail, {server.url}"
        source = open_live(row(server, mode="live", lookup_query=LOOKUP, url=urls, timeout=2))
        async with asyncio.timeout(2):
            assert (await source.lookup(Address.parse("alice@example.com"))).presence is Presence.EXISTS
        await source.close()
        peer.close()

    uvloop.run(main())


def test_a_notification_is_enough(servers, row, tmp_path):
    server = servers("postgresql")
    server.execute(f"DROP TABLE IF EXISTS users;{SCHEMA}")

    async def main():
        settings = row(server, **BY_TIME, notify_channel="recipients", interval=3600)
        async with followed(settings, tmp_path) as source:
            await source.reads(*THREE)
            server.execute("INSERT INTO users(id, email) VALUES (11, 'told@example.com'); NOTIFY recipients")
            await source.reads(*THREE, "told@example.com")
            server.kill()
            await source.fails("connection was lost")
            await asyncio.to_thread(server.start)
            await source.until(lambda: source.keeper.freshness.state is SyncState.CURRENT)

    uvloop.run(main())


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mail of ours.db"
    write(path, SCHEMA)
    return path


def write(path, statements):
    base = sqlite3.connect(path)
    base.executescript(statements)
    base.close()


def test_a_file_is_read_and_then_its_changes(file, row, tmp_path):
    async def main():
        async with followed(row(url=f"sqlite://{file}", **BY_TIME), tmp_path) as source:
            await source.reads(*THREE)
            before, generation = source.table.synced_ms, source.table.generation
            await source.until(lambda: source.table.synced_ms > before)
            assert source.table.generation == generation
            write(file, "DELETE FROM users WHERE id = 1; INSERT INTO users(id, email) VALUES(4, 'new@example.com')")
            await source.reads(*THREE, "new@example.com")
            write(file, "UPDATE users SET active = 0, modified = CURRENT_TIMESTAMP WHERE id = 2")
            await source.reads("alice@example.com", "carol@example.com", "new@example.com")

    uvloop.run(main())


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.unlink(), "unable to open"),
        (lambda path: path.write_bytes(b"no database at all" * 100), "not a database"),
        (lambda path: path.write_bytes(b""), "no such table"),
        (lambda path: path.write_bytes(path.read_bytes()[:4096] + b"x" * 8192), "malformed"),
        (lambda path: write(path, "ALTER TABLE users RENAME COLUMN email TO mail"), "no such column: email"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_outage(file, row, tmp_path, spoil, words):
    async def main():
        settings = row(url=f"sqlite://{file}", query=f"{QUERY} ORDER BY id")
        async with followed(settings, tmp_path) as source:
            await source.reads(*THREE)
            spoil(file)
            await source.fails(str(file), words)
            assert source.addresses() == sorted(THREE)
        live = open_live(row(url=f"sqlite://{file}", mode="live", lookup_query=LOOKUP))
        with pytest.raises(SourceError):
            await live.lookup(Address.parse("alice@example.com"))
        with pytest.raises(SourceError):
            await live.probe()
        await live.close()

    uvloop.run(main())


def test_a_domain_that_is_another_name_of_itself_is_an_outage(file, row):
    """Nothing can be said of its addresses, and neither a source nor its database is asked for ever."""
    lookup = "SELECT '@' || :domain AS address, CASE :domain WHEN 'a.test' THEN '@b.test' ELSE '@a.test' END AS targets"

    async def main():
        source = open_live(row(url=f"sqlite://{file}", mode="live", lookup_query=lookup))
        with pytest.raises(SourceError, match=r"lookup_query: the domain [ab]\.test leads back to itself"):
            await source.lookup(Address.parse("ann@a.test"))
        await source.close()

    uvloop.run(main())


@pytest.mark.parametrize("address", ["'@example.com'", "' @example.com'", "CAST('@example.com' AS BLOB)"])
def test_a_row_for_a_whole_domain_is_none_for_the_address(file, row, address):
    async def main():
        for targets, found in [("NULL", ()), ("'boss@far.test'", ("boss@far.test",))]:
            query = f"SELECT {address} AS address, {targets} AS targets WHERE :domain = 'example.com'"
            source = open_live(row(url=f"sqlite://{file}", mode="live", lookup_query=query))
            answer = await source.lookup(Address.parse("any@example.com"))
            assert (answer.presence, answer.targets, answer.whole_domain) == (Presence.EXISTS, found, True)
            await source.close()

    uvloop.run(main())


def test_a_file_is_never_written(file, row):
    async def main():
        settings = row(
            url=f"sqlite://{file}",
            query="INSERT INTO users(id, email) VALUES(9, 'x@example.com') RETURNING email AS address",
        )
        with pytest.raises(SourceError, match="readonly"):
            await open_sync(settings).probe()

    uvloop.run(main())


def test_a_slow_query_of_a_file_keeps_nobody_waiting(file, row):
    async def main():
        slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS address FROM n WHERE i < 0"
        source = open_sync(row(url=f"sqlite://{file}", query=slow, query_timeout=0.3))
        turns = 0

        async def count():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.01)

        counting = asyncio.ensure_future(count())
        with pytest.raises(SourceError, match="no answer in time"):
            await source.probe()
        counting.cancel()
        assert turns > 1

    uvloop.run(main())


def test_nothing_of_a_file_is_freed_by_the_loop(file, row, monkeypatch):
    """To free a cursor waits for the query that runs; a loop that waits for it cannot end it."""
    seen, call = [], SqliteConnection._call

    async def noting(connection, *arguments):
        result = await call(connection, *arguments)
        seen.append(result)
        return result

    async def main():
        await open_live(row(url=f"sqlite://{file}", mode="live", lookup_query=LOOKUP)).lookup(
            Address.parse("alice@example.com")
        )
        await open_sync(row(url=f"sqlite://{file}", query=QUERY)).probe()

    monkeypatch.setattr(SqliteConnection, "_call", noting)
    uvloop.run(main())
    assert len(seen) > 4
    assert not any(isinstance(result, (sqlite3.Cursor, sqlite3.Connection)) for result in seen)


def test_a_question_to_a_file_that_fails_is_no_outage_and_a_file_that_is_away_is_one(file, row):
    async def main():
        least = "-9223372036854775808"
        query = f"{LOOKUP} AND abs(CASE :local WHEN 'odd' THEN {least} ELSE 1 END) = 1"
        source = open_live(row(url=f"sqlite://{file}", mode="live", lookup_query=query))
        with pytest.raises(LookupFailedError, match="overflow"):
            await source.lookup(Address.parse("odd@example.com"))
        assert (await source.lookup(Address.parse("alice@example.com"))).presence is Presence.EXISTS
        file.unlink()
        with pytest.raises(SourceError) as caught:
            await source.lookup(Address.parse("odd@example.com"))
        assert not isinstance(caught.value, LookupFailedError)

    uvloop.run(main())


def test_another_file_of_the_name_is_asked(file, row, tmp_path):
    async def main():
        source = open_live(row(url=f"sqlite://{file}", mode="live", lookup_query=LOOKUP))
        assert (await source.lookup(Address.parse("alice@example.com"))).presence is Presence.EXISTS
        write(tmp_path / "next.db", SCHEMA.replace("alice", "dora"))
        (tmp_path / "next.db").rename(file)
        assert (await source.lookup(Address.parse("alice@example.com"))).presence is Presence.ABSENT
        assert (await source.lookup(Address.parse("dora@example.com"))).presence is Presence.EXISTS
        for one in HOSTILE:
            assert (await source.lookup(Address.parse(one))).presence is Presence.ABSENT
        await source.close()

    uvloop.run(main())


@pytest.mark.parametrize("family", ["postgresql", "mysql"])
def test_a_driver_that_is_missing_is_named(family, row, monkeypatch):
    module = {"postgresql": "asyncpg", "mysql": "asyncmy.connection"}[family]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SourceError, match=rf"run: pip install 'mailmoat\[{family}\]'"):
        open_sync(row(url=f"{family}://h/mail", query=QUERY))
