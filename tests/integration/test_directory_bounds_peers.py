"""What a row may list, with the servers that hold it: what is refused leads nowhere, whether it is read or asked for.

Each source has the same five recipients: what one says of them in its own form, all must say.
"""

import sqlite3

import pytest
import uvloop
from tests.certificates import Authority
from tests.doubles.database import ACCOUNT
from tests.doubles.directory_source import Replica
from tests.doubles.postgresql import PostgreSQL
from tests.doubles.slapd import PASSWORD, READER, Slapd, person
from tests.needs import need_module

from mailmoat._native import Address
from mailmoat.directory.directory import Presence
from mailmoat.directory.source import Whole
from mailmoat.directory_process.bounded import open_bounded_live, open_bounded_sync
from mailmoat.settings import Settings
from mailmoat.settings.sections.directories import sources

LISTED = [
    ("plain@example.com", []),
    ("half@example.com", ["plain@example.com", "eve@far.test"]),
    ("away@example.com", ["eve@far.test"]),
    ("bad@example.com", ["plain@example.com", "no address"]),
    ("route@example.com", ["eve%far.test@example.com"]),
    ("ann@elsewhere.test", []),
    ("@example.com", []),
]
WITHIN = {
    "plain@example.com": (),
    "half@example.com": ("plain@example.com", "half@example.com"),
    "away@example.com": (),
    "bad@example.com": ("plain@example.com", "bad@example.com"),
    "route@example.com": (),
}
TABLE = "CREATE TABLE addresses(email varchar(255), goto text);"
ROWS = ", ".join(f"('{address}', {repr(','.join(targets)) if targets else 'NULL'})" for address, targets in LISTED)
LOOKUP = "SELECT email AS address, goto AS targets FROM addresses WHERE email IN (:address, :at_domain)"
SQL = {"query": "SELECT email AS address, goto AS targets FROM addresses", "lookup_query": LOOKUP}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


def in_slapd(tmp_path, authority):
    entries = []
    for number, (address, targets) in enumerate(LISTED):
        forward = "".join(f"description: {target}\n" for target in targets)
        entries.append(f"{person(number, address).rstrip()}\n{forward}\n")
    (tmp_path / "password").write_text(PASSWORD)
    with Slapd(tmp_path / "slapd", authority, entries) as running:
        yield {
            "url": f"ldap://127.0.0.1:{running.port}",
            "account": READER,
            "password_file": str(tmp_path / "password"),
            "tls_ca": str(authority.certificate),
            "target_attributes": "description",
        }


def in_postgresql(_tmp_path, authority):
    need_module("asyncpg")
    with PostgreSQL(authority) as running:
        running.execute(f"{TABLE} INSERT INTO addresses VALUES {ROWS};")
        password_file, ca = str(running.password_file), str(authority.certificate)
        yield {"url": running.url, "account": ACCOUNT, "password_file": password_file, "tls_ca": ca, **SQL}


def in_sqlite(tmp_path, _authority):
    base = sqlite3.connect(tmp_path / "db")
    base.executescript(f"{TABLE} INSERT INTO addresses VALUES {ROWS};")
    base.close()
    yield {"url": f"sqlite://{tmp_path}/db", **SQL}


@pytest.fixture(scope="module", params=[in_slapd, in_postgresql, in_sqlite])
def listed(request, tmp_path_factory, authority):
    """The row of a source that lists all that."""
    yield from request.param(tmp_path_factory.mktemp("source"), authority)


def opened(row, mode, **more):
    if mode == "live" and row["url"].startswith("ldap"):
        row = {**row, "filter": "(|(mail={address})(mail=@{domain}))"}
    if mode == "sync":
        row = {name: value for name, value in row.items() if name != "lookup_query"}
    elif "query" in row:
        row = {name: value for name, value in row.items() if name != "query"}
    relay = {"local_domains": "example.com"}
    settings = Settings(hostname="mx.test", relay=relay, directories=[{"name": "a", "mode": mode, **row, **more}])
    [merged] = sources(settings.directory, settings.directories)
    return open_bounded_live(settings, merged) if mode == "live" else open_bounded_sync(settings, merged)


def read(row, **more):
    async def main():
        source, replica = opened(row, "sync", **more), Replica()
        await replica.run(source, lambda: isinstance(replica.steps[-1], Whole))
        await source.close()
        return {one.text: one.targets for entry in replica.known.values() for one in entry.addresses}

    return uvloop.run(main())


def ask(row, *addresses, **more):
    async def main():
        source = opened(row, "live", **more)
        answers = [await source.lookup(Address.parse(address)) for address in addresses]
        await source.close()
        return [answer.targets if answer.presence is Presence.EXISTS else answer.presence for answer in answers]

    return uvloop.run(main())


def test_what_is_read_is_within_the_bounds(listed):
    assert read(listed) == WITHIN
    everything = read(listed, whole_domains=True, target_domains="*")
    assert everything["@example.com"] == ()
    assert everything["half@example.com"] == ("plain@example.com", "eve@far.test")
    assert everything["bad@example.com"] == WITHIN["bad@example.com"]


def test_what_is_answered_is_within_the_bounds(listed):
    assert ask(listed, *WITHIN) == list(WITHIN.values())


def test_an_entry_for_a_whole_domain_answers_for_nobody(listed):
    """A filter of the administrator's own finds it by the domain; what it has says that it is for no single address."""
    strange = ["stranger@example.com", "victim%far.test@example.com"]
    assert ask(listed, *strange) == [Presence.ABSENT, Presence.ABSENT]
    assert ask(listed, *strange, whole_domains=True) == [(), Presence.ABSENT]
