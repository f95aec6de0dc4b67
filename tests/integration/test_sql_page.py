"""The views and queries of docs/sql.md, run against real databases with the tables, and rows as those mail systems make them."""

from __future__ import annotations

import re
import sqlite3
import tomllib
from pathlib import Path

import pytest
import uvloop
from tests.doubles.database import ACCOUNT
from tests.doubles.directory_source import Replica, row
from tests.doubles.mariadb import MariaDB
from tests.doubles.postgresql import PostgreSQL

from mailmoat._native import Address
from mailmoat.directory.directory import Presence
from mailmoat.directory.opening import open_live, open_sync
from mailmoat.directory.source import Current, Delta, Whole

PAGE = (Path(__file__).parents[2] / "docs" / "sql.md").read_text()
ROWS = {
    found["name"]: found
    for block in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    for found in tomllib.loads(block)["directories"]
}
VIEWS = dict(re.findall(r"```sql (\w+)\n(.*?)```", PAGE, re.DOTALL))
ALL = ("postgresql", "mysql", "sqlite")

# PostgreSQL has a type for truth and moments of its own; PostfixAdmin uses them there.
POSTFIXADMIN = """
CREATE TABLE domain(domain varchar(255) PRIMARY KEY, backupmx BOOL NOT NULL DEFAULT FALSE, modified MOMENT NOT NULL DEFAULT '2026-01-01', active BOOL NOT NULL DEFAULT TRUE);
CREATE TABLE mailbox(username varchar(255) PRIMARY KEY, domain varchar(255) NOT NULL, modified MOMENT NOT NULL DEFAULT '2026-01-01', active BOOL NOT NULL DEFAULT TRUE);
CREATE TABLE alias(address varchar(255) PRIMARY KEY, goto text NOT NULL, domain varchar(255) NOT NULL, modified MOMENT NOT NULL DEFAULT '2026-01-01', active BOOL NOT NULL DEFAULT TRUE);
CREATE TABLE alias_domain(alias_domain varchar(255) PRIMARY KEY, target_domain varchar(255) NOT NULL, modified MOMENT NOT NULL DEFAULT '2026-01-01', active BOOL NOT NULL DEFAULT TRUE);
INSERT INTO domain(domain, backupmx, active) VALUES('ALL', FALSE, TRUE), ('example.com', FALSE, TRUE), ('old.example', FALSE, TRUE), ('catch.example', FALSE, TRUE), ('closed.example', FALSE, FALSE), ('backup.example', TRUE, TRUE), ('gone.example', FALSE, TRUE);
INSERT INTO mailbox(username, domain, active) VALUES('alice@example.com', 'example.com', TRUE), ('bob@example.com', 'example.com', TRUE), ('off@example.com', 'example.com', FALSE), ('lone@example.com', 'example.com', TRUE), ('carol@closed.example', 'closed.example', TRUE);
INSERT INTO alias(address, goto, domain, active) VALUES('alice@example.com', 'alice@example.com', 'example.com', TRUE), ('bob@example.com', 'bob@example.com,bob@example.org', 'example.com', TRUE), ('off@example.com', 'off@example.com', 'example.com', TRUE), ('all@example.com', 'alice@example.com,bob@example.com', 'example.com', TRUE), ('past@example.com', 'x@example.org', 'example.com', FALSE), ('@catch.example', 'alice@example.com', 'catch.example', TRUE), ('carol@closed.example', 'carol@closed.example', 'closed.example', TRUE), ('dan@backup.example', 'alice@example.com', 'backup.example', TRUE);
INSERT INTO alias_domain(alias_domain, target_domain, active) VALUES('old.example', 'example.com', TRUE), ('gone.example', 'example.com', FALSE);
"""
IREDMAIL = """
CREATE TABLE domain(domain varchar(255) PRIMARY KEY, backupmx smallint NOT NULL DEFAULT 0, active smallint NOT NULL DEFAULT 1);
CREATE TABLE forwardings(id integer PRIMARY KEY, address varchar(255) NOT NULL, forwarding varchar(255) NOT NULL, domain varchar(255) NOT NULL, is_list smallint NOT NULL DEFAULT 0, is_alias smallint NOT NULL DEFAULT 0, active smallint NOT NULL DEFAULT 1);
CREATE TABLE alias_domain(alias_domain varchar(255) PRIMARY KEY, target_domain varchar(255) NOT NULL, active smallint NOT NULL DEFAULT 1);
INSERT INTO domain VALUES('example.com', 0, 1), ('catch.example', 0, 1), ('closed.example', 0, 0), ('backup.example', 1, 1);
INSERT INTO forwardings(id, address, forwarding, domain, is_list, active) VALUES(1, 'alice@example.com', 'alice@example.com', 'example.com', 0, 1), (2, 'bob@example.com', 'bob@example.com', 'example.com', 0, 1), (3, 'bob@example.com', 'bob@example.org', 'example.com', 0, 1), (4, 'all@example.com', 'alice@example.com', 'example.com', 1, 1), (5, 'all@example.com', 'bob@example.com', 'example.com', 1, 1), (6, 'off@example.com', 'off@example.com', 'example.com', 0, 0), (7, 'catch.example', 'alice@example.com', 'catch.example', 0, 1), (8, 'carol@closed.example', 'carol@closed.example', 'closed.example', 0, 1), (9, 'dan@backup.example', 'alice@example.com', 'backup.example', 0, 1), (10, 'lone@example.com', 'lone@example.com', 'example.com', 0, 1);
INSERT INTO alias_domain VALUES('old.example', 'example.com', 1), ('gone.example', 'example.com', 0);
"""
ISPMAIL = """
CREATE TABLE virtual_users(id integer PRIMARY KEY, domain_id integer NOT NULL, email varchar(100) NOT NULL UNIQUE);
CREATE TABLE virtual_aliases(id integer PRIMARY KEY, domain_id integer NOT NULL, source varchar(100) NOT NULL, destination varchar(100) NOT NULL);
INSERT INTO virtual_users VALUES(1, 1, 'alice@example.com'), (2, 1, 'bob@example.com'), (3, 1, 'lone@example.com');
INSERT INTO virtual_aliases VALUES(1, 1, 'all@example.com', 'alice@example.com'), (2, 1, 'bob@example.com', 'bob@example.com'), (3, 1, 'all@example.com', 'bob@example.com'), (4, 1, 'bob@example.com', 'bob@example.org'), (5, 2, '@catch.example', 'alice@example.com');
"""
DOVECOT = """
CREATE TABLE users(username varchar(128) NOT NULL, domain varchar(128) NOT NULL, active char(1) DEFAULT 'Y' NOT NULL, PRIMARY KEY(username, domain));
INSERT INTO users VALUES('alice', 'example.com', 'Y'), ('bob', 'example.com', 'N');
"""
TABLES = {"postfixadmin": POSTFIXADMIN, "iredmail": IREDMAIL, "ispmail": ISPMAIL, "dovecot": DOVECOT}
BOTH = ("bob@example.com", "bob@example.org")
SAME = {("alice@example.com", ()), ("lone@example.com", ()), ("@catch.example", ("alice@example.com",))}
LISTED = {
    "postfixadmin": SAME | {("bob@example.com", BOTH), ("all@example.com", ("alice@example.com", "bob@example.com")), ("@old.example", ("@example.com",))},
    # A row for each target: they are put together where the table is compiled.
    "iredmail": SAME | {("bob@example.com", BOTH[:0]), ("bob@example.com", BOTH[1:]), ("all@example.com", ("alice@example.com",)), ("all@example.com", ("bob@example.com",)), ("@old.example", ("@example.com",))},
    "ispmail": SAME | {("bob@example.com", BOTH[:0]), ("bob@example.com", BOTH[1:]), ("all@example.com", ("alice@example.com",)), ("all@example.com", ("bob@example.com",))},
    "dovecot": {("alice@example.com", ())},
}  # fmt: skip
ANSWERS = {
    "alice@example.com": (),
    "ALICE@example.com": (),
    "lone@example.com": (),
    "bob@example.com": BOTH,
    "all@example.com": ("alice@example.com", "bob@example.com"),
    "any@catch.example": ("alice@example.com",),
    "alice@old.example": ("alice@example.com",),
    "Lone@old.example": ("Lone@example.com",),
    "bob@old.example": BOTH,
    "nobody@example.com": None,
    "nobody@old.example": None,
    "off@example.com": None,
    "off@old.example": None,
    "past@example.com": None,
    "carol@closed.example": None,
    "dan@backup.example": None,
    "alice@gone.example": None,
    "alice%example.org@catch.example": None,
}
"""What each is redirected to; None = it does not exist."""


class Sqlite:
    """As the servers are used here."""

    def __init__(self, path):
        self.url, self._path = f"sqlite://{path}", path

    def execute(self, statements):
        base = sqlite3.connect(self._path)
        base.executescript(statements)
        base.close()


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with PostgreSQL() as postgresql, MariaDB() as mariadb:
        yield {"postgresql": postgresql, "mysql": mariadb}


@pytest.fixture(params=ALL)
def database(request, servers, tmp_path):
    """One without tables."""
    found = servers.get(request.param) or Sqlite(tmp_path / "mail.db")
    if request.param == "postgresql":
        found.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO reader")
    elif request.param == "mysql":
        found.execute("DROP DATABASE mail; CREATE DATABASE mail CHARACTER SET utf8mb4")
    found.family = request.param
    return found


def fill(database, schema):
    """Make the tables of a mail system with its rows, and the view of the page."""
    tables, view = TABLES[schema], VIEWS[schema]
    types = {
        "postgresql": ("boolean", "timestamptz"),
        "mysql": ("tinyint(1)", "datetime"),
        "sqlite": ("integer", "text"),
    }
    truth, moment = types[database.family]
    tables = tables.replace("BOOL", truth).replace("MOMENT", moment)
    if database.family == "postgresql":
        view = re.sub(r"(a\.address|m\.username|f\.address)(?= AS address|, NULL)", r"\1::text", view)
        assert schema not in ("postfixadmin", "iredmail") or "::text" in view
    elif database.family == "sqlite":
        view = re.sub(r"CONCAT\(([^()]*)\)", lambda found: found[1].replace(", ", " || "), view).replace(
            "GREATEST", "MAX"
        )
    database.execute(tables + view)


def on(database, name, *without):
    """The row of the page, at a database."""
    written = {key: value for key, value in ROWS[name].items() if key not in without}
    if database.family == "sqlite":
        return row(
            **{key: written[key] for key in written if key not in ("account", "password_file")} | {"url": database.url}
        )
    given = {"account": ACCOUNT, "password_file": database.password_file, "tls": "none", "tls_ca": ""}
    return row(**{**written, "url": database.url, **given})


async def read(source, replica):
    await replica.run(source, lambda: replica.steps and isinstance(replica.steps[-1], (Whole, Current, Delta)))
    return {one for entry in replica.known.values() for one in entry.addresses}


async def answers(source, *addresses):
    found = {}
    for one in addresses:
        address = Address.parse(one)
        answer = await source.lookup(address)
        found[one] = set(answer.targets_of(address)) if answer.presence is Presence.EXISTS else None
    await source.close()
    return found


@pytest.mark.parametrize("schema", TABLES)
def test_a_view_of_the_page_is_read_and_tried(database, schema):
    fill(database, schema)
    source = open_sync(on(database, "read", "changes_query"))
    assert uvloop.run(read(source, Replica())) == LISTED[schema]
    assert uvloop.run(source.probe()).sample


@pytest.mark.parametrize("schema", ["postfixadmin", "iredmail", "ispmail"])
def test_a_view_of_the_page_is_asked(database, schema):
    fill(database, schema)
    chosen = [one for one in ANSWERS if schema != "ispmail" or "old" not in one]
    expected = {one: None if ANSWERS[one] is None else set(ANSWERS[one]) for one in chosen}
    assert uvloop.run(answers(open_live(on(database, "asked")), *expected)) == expected


def test_what_changes_in_postfixadmin_is_read(database):
    fill(database, "postfixadmin")

    async def main():
        replica, source = Replica(), open_sync(on(database, "read"))
        listed = {text for text, _ in await read(source, replica)}
        changes = {
            "UPDATE mailbox SET active = FALSE, modified = '2026-02-01' WHERE username = 'alice@example.com'": {"alice@example.com"},
            "UPDATE alias SET active = FALSE, modified = '2026-02-02' WHERE address = 'all@example.com'": {"all@example.com"},
            "UPDATE domain SET active = FALSE, modified = '2026-02-03' WHERE domain = 'catch.example'": {"@catch.example"},
            "UPDATE alias_domain SET active = FALSE, modified = '2026-02-04' WHERE alias_domain = 'old.example'": {"@old.example"},
        }  # fmt: skip
        for change, gone in changes.items():
            database.execute(change)
            listed -= gone
            assert {text for text, _ in await read(source, replica)} == listed, change
        assert sum(isinstance(step, Whole) for step in replica.steps) == 1
        database.execute(
            "INSERT INTO alias(address, goto, domain, modified) VALUES('lone@example.com', 'x@example.org', 'example.com', '2026-02-05')"
        )
        lone = {one for one in await read(source, replica) if one.text == "lone@example.com"}
        assert lone == {("lone@example.com", ("x@example.org",))}

    uvloop.run(main())


def test_dovecot_is_asked_by_name_and_domain(database):
    fill(database, "dovecot")
    found = uvloop.run(answers(open_live(on(database, "dovecot")), "Alice@example.com", "bob@example.com"))
    assert found == {"Alice@example.com": set(), "bob@example.com": None}


def test_a_time_of_changes_is_set_by_the_database(database):
    if database.family not in VIEWS:
        return  # SQLite: a file that nobody wrote to is not read again
    database.execute(DOVECOT + VIEWS[database.family])
    view = VIEWS["dovecot"].replace(
        "AS address", "AS id, CONCAT(username, '@', domain) AS address, modified AS changed"
    )
    database.execute(view)

    async def main():
        replica, source = Replica(), open_sync(on(database, "read"))
        await read(source, replica)
        database.execute("UPDATE users SET active = 'Y' WHERE username = 'bob'")
        assert {text for text, _ in await read(source, replica)} == {"alice@example.com", "bob@example.com"}
        assert isinstance(replica.steps[-1], Delta)

    uvloop.run(main())


def test_a_postfix_map_and_a_table_of_users_are_read(database):
    fill(database, "postfixadmin")
    mailboxes = {"alice@example.com", "bob@example.com", "lone@example.com", "carol@closed.example"}
    assert {text for text, _ in uvloop.run(read(open_sync(on(database, "map")), Replica()))} == mailboxes
    moment = "timestamptz" if database.family == "postgresql" else "timestamp"
    database.execute(
        f"CREATE TABLE users(id integer PRIMARY KEY, email varchar(255), active smallint DEFAULT 1, modified {moment} DEFAULT CURRENT_TIMESTAMP);"
        "INSERT INTO users(id, email) VALUES(1, 'alice@example.com')"
    )

    async def main():
        replica, source = Replica(), open_sync(on(database, "users"))
        assert await read(source, replica) == {("alice@example.com", ())}
        database.execute("INSERT INTO users(id, email) VALUES(2, 'bob@example.com')")
        assert {text for text, _ in await read(source, replica)} == {"alice@example.com", "bob@example.com"}

    uvloop.run(main())


def test_every_row_and_view_of_the_page_is_tried():
    assert set(ROWS) == {"users", "read", "asked", "dovecot", "map"}
    assert set(VIEWS) == {*TABLES, "mysql", "postgresql"}
