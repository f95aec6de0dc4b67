"""The queries of docs/sql.md, run against real servers with the tables that they are for."""

from __future__ import annotations

import re
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
from mailmoat.directory.source import Whole

PAGE = Path(__file__).parents[2] / "docs" / "sql.md"
POSTFIX = """
CREATE TABLE mailbox(username varchar(255) PRIMARY KEY, active tinyint(1) NOT NULL DEFAULT 1);
CREATE TABLE alias(address varchar(255) PRIMARY KEY, goto text NOT NULL, active tinyint(1) NOT NULL DEFAULT 1);
CREATE TABLE alias_domain(alias_domain varchar(255) PRIMARY KEY, target_domain varchar(255) NOT NULL, active tinyint(1) NOT NULL DEFAULT 1);
INSERT INTO mailbox VALUES('alice@example.com', 1), ('bob@example.com', 1), ('gone@example.com', 0);
INSERT INTO alias VALUES('alice@example.com', 'alice@example.com', 1), ('all@example.com', 'alice@example.com,bob@example.com', 1), ('off@example.com', 'x@example.org', 0);
INSERT INTO alias_domain VALUES('old.example', 'example.com', 1);
CREATE TABLE virtual_users(id int PRIMARY KEY, email varchar(120) NOT NULL);
CREATE TABLE virtual_aliases(id int PRIMARY KEY, source varchar(100) NOT NULL, destination varchar(100) NOT NULL);
INSERT INTO virtual_users VALUES(1, 'alice@example.com'), (2, 'bob@example.com');
INSERT INTO virtual_aliases VALUES(1, 'all@example.com', 'alice@example.com'), (2, 'bob@example.com', 'bob@example.org'), (3, 'all@example.com', 'bob@example.com');
"""
DOVECOT = """
CREATE TABLE users(username varchar(128) NOT NULL, domain varchar(128) NOT NULL, active char(1) DEFAULT 'Y' NOT NULL,
                   id integer, email varchar(255), modified timestamptz DEFAULT now());
INSERT INTO users VALUES('alice', 'example.com', 'Y', 1, 'alice@example.com'), ('bob', 'example.com', 'N', 2, 'bob@example.com');
"""
EXPECTED = {
    "users": {("alice@example.com", ())},
    "postfixadmin": {("alice@example.com", ()), ("bob@example.com", ()), ("all@example.com", ()), ("@old.example", ("@example.com",))},
    "postfixadmin-redirected": {("alice@example.com", ()), ("bob@example.com", ()), ("all@example.com", ("alice@example.com", "bob@example.com")), ("@old.example", ("@example.com",))},
    "virtual": {("alice@example.com", ()), ("bob@example.com", ("bob@example.org",)), ("all@example.com", ("alice@example.com",)), ("all@example.com", ("bob@example.com",))},
    "dovecot": {("alice@example.com", ())},
}  # fmt: skip
ROWS = {
    found["name"]: found
    for block in re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for found in tomllib.loads(block)["directories"]
}


@pytest.fixture(scope="module")
def servers():
    with PostgreSQL() as postgresql, MariaDB() as mariadb:
        postgresql.execute(DOVECOT)
        mariadb.execute(POSTFIX)
        yield {"postgresql": postgresql, "mysql": mariadb}


def on(servers, name):
    written = dict(ROWS[name])
    server = servers[written["url"].partition(":")[0]]
    given = {"account": ACCOUNT, "password_file": server.password_file, "tls": "none", "tls_ca": ""}
    return row(**{**written, "url": server.url, **given})


@pytest.mark.parametrize("name", EXPECTED)
def test_a_query_of_the_page_gives_what_it_says(servers, name):
    replica = Replica()
    source = open_sync(on(servers, name))
    uvloop.run(replica.run(source, lambda: replica.steps and isinstance(replica.steps[-1], Whole)))
    assert {one for entry in replica.known.values() for one in entry.addresses} == EXPECTED[name]
    probed = uvloop.run(source.probe())
    assert probed.sample


def test_the_lookup_query_of_the_page_is_answered(servers):
    async def main():
        source = open_live(on(servers, "asked"))
        answers = [
            (await source.lookup(Address.parse(one))).presence for one in ("Alice@example.com", "bob@example.com")
        ]
        await source.close()
        return answers

    assert uvloop.run(main()) == [Presence.EXISTS, Presence.ABSENT]


def test_every_row_of_the_page_is_tried():
    assert set(ROWS) == {*EXPECTED, "asked"}
