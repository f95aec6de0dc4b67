"""What can happen to a database, and what the real server answers meanwhile: no existing recipient is ever refused with 5xx.

The short form has two of these with PostgreSQL, the long one all with both servers.

MAILMOAT_TEST_SOAK=1 .venv/bin/python -m pytest tests/integration/test_sql_faults.py -s
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time

import pytest
import uvloop
from tests.certificates import Authority
from tests.doubles.database import ACCOUNT, PASSWORD
from tests.doubles.directory_source import row
from tests.doubles.mariadb import MariaDB
from tests.doubles.postgresql import PostgreSQL
from tests.integration.test_directory_process import code, known, rows
from tests.needs import find_peer, need_module

from mailmoat._native import Address
from mailmoat.directory import freshness
from mailmoat.directory.freshness import SyncState
from mailmoat.directory.opening import open_live, open_sync
from mailmoat.errors import SourceError

SOAK = os.environ.get("MAILMOAT_TEST_SOAK") == "1"
SERVERS = {"postgresql": (PostgreSQL, "asyncpg"), "mysql": (MariaDB, "asyncmy")}
NUMBERS = {
    "postgresql": "SELECT n, 'u' || n || '@example.test' FROM generate_series(1, 2000) n",
    "mysql": "SELECT seq, CONCAT('u', seq, '@example.test') FROM seq_1_to_2000",
}
"""More rows than are read at a time."""
FEW = "INSERT INTO users VALUES(3001, 'ann@example.test'), (3002, 'ann@live.test')"
BROKEN = {
    "postgresql": "CASE WHEN u.n >= 1500 THEN 1 / (u.n - u.n) ELSE 1 END",
    "mysql": "CASE WHEN u.n >= 1500 THEN (SELECT v.n FROM users v WHERE v.n + 0 * u.n >= 1500) ELSE 1 END",
}
SLOW = {"postgresql": "CASE WHEN pg_sleep(60) IS NULL THEN 0 ELSE 1 END", "mysql": "1 + sleep(60)"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module", params=list(SERVERS))
def database(request, authority):
    kind, module = SERVERS[request.param]
    need_module(module)
    with kind(authority) as found:
        found.execute("CREATE TABLE users(n integer PRIMARY KEY, email varchar(100) NOT NULL)")
        found.execute(f"INSERT INTO users {NUMBERS[found.family]}; {FEW}")
        show(found)
        found.good = authority.sign("localhost", "127.0.0.1", file=f"good-{found.family}")
        yield found


def show(database, active="1"):
    """Make the view of the recipients."""
    database.execute(f"CREATE OR REPLACE VIEW recipients AS SELECT u.email AS address, {active} AS active FROM users u")


def access(database, authority, **given):
    return {
        "url": database.url,
        "account": ACCOUNT,
        "password_file": str(database.password_file),
        "tls_ca": str(authority.certificate),
        "timeout": "1s",
        "query_timeout": "1s",
        **given,
    }


def outage(database, authority, **given):
    """Why the database can be neither read nor asked; empty when it can be."""

    async def main():
        said = []
        for source in (
            open_sync(row(**access(database, authority, query="SELECT * FROM recipients", **given))),
            open_live(row(**access(database, authority, mode="live", lookup_query="SELECT 1 AS x WHERE :address = ''", **given))),
        ):  # fmt: skip
            try:
                await source.probe() if hasattr(source, "steps") else await source.lookup(
                    Address.parse("ann@live.test")
                )
            except SourceError as error:
                said.append(str(error))
        assert len(said) in (0, 2)
        return said[0] if said else ""

    return uvloop.run(main())


def test_a_certificate_that_is_not_right_is_an_outage_with_its_reason(database, authority, tmp_path):
    wrong = {
        "expired": authority.sign("localhost", "127.0.0.1", days=-1, file="expired"),
        "127.0.0.1": authority.sign("db.else.test", file="else"),
        "tls_ca": Authority(tmp_path, "Another CA").sign("localhost", "127.0.0.1"),
    }
    try:
        for word, made in wrong.items():
            database.present(made)
            said = outage(database, authority)
            assert "its certificate is refused" in said
            assert word in said, said
            assert outage(database, authority, tls="encrypt") == ""
    finally:
        database.present(database.good)
    assert outage(database, authority) == ""


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_database_that_takes_no_connections_is_named(database, authority):
    database.execute("ALTER DATABASE mail ALLOW_CONNECTIONS false", database="postgres")
    try:
        assert 'database "mail" is not currently accepting connections' in outage(database, authority)
    finally:
        database.execute("ALTER DATABASE mail ALLOW_CONNECTIONS true", database="postgres")


def test_an_account_logs_in_by_a_certificate(database, authority, tmp_path):
    database.log_in_by_certificate("certified")
    ours = authority.sign("certified")
    given = {"account": "certified", "password_file": ""}
    assert outage(database, authority, **given, tls_certificate=ours.chain, tls_key=ours.key) == ""
    assert "certifi" in outage(database, authority, **given)
    others = Authority(tmp_path, "Another CA").sign("certified")
    assert outage(database, authority, **given, tls_certificate=others.chain, tls_key=others.key)


class Fault:
    """One, at a database of either kind: `begin` brings it about, `end` ends it."""

    removes = False
    """The rows are gone: who is asked for them is right to say so."""

    def __init__(self, database, authority):
        self.database, self.authority = database, authority

    def begin(self):
        raise NotImplementedError

    def end(self):
        show(self.database)

    @property
    def is_postgresql(self):
        return self.database.family == "postgresql"

    def hold(self, statements):
        """Run statements that do not end, in a session of their own."""
        if self.is_postgresql:
            program = [shutil.which("psql"), "-h", self.database.directory, "-p", self.database.port, "-U", "admin", "-d", "mail"]  # fmt: skip
        else:
            program = [find_peer("mariadb"), "--no-defaults", "--skip-ssl", f"--socket={self.database.socket}", "-u", "root", "mail"]  # fmt: skip
        with subprocess.Popen([*map(str, program)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as session:  # fmt: skip
            session.stdin.write(statements.encode())
            session.stdin.close()
            session.stdin = None
            running = {
                "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT%600%'",
                "mysql": "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%'",
            }[self.database.family]
            while self.database.execute(running).strip() == "0":
                assert session.poll() is None
            yield
            self.database.disconnect("600")
            session.kill()


class Killed(Fault):
    def begin(self):
        self.database.kill()

    def end(self):
        self.database.start()


class Hung(Fault):
    def begin(self):
        self.database.hang()

    def end(self):
        self.database.go_on()


class Expired(Fault):
    def begin(self):
        self.database.present(self.authority.sign("localhost", "127.0.0.1", days=-1, file="over"))
        self.database.disconnect()

    def end(self):
        self.database.present(self.database.good)


class Locked(Fault):
    def begin(self):
        lock = "BEGIN; LOCK TABLE users; SELECT pg_sleep(600);" if self.is_postgresql else "LOCK TABLES users WRITE; SELECT SLEEP(600);"  # fmt: skip
        self._held = self.hold(lock)
        next(self._held)

    def end(self):
        next(self._held, None)


class Slow(Fault):
    def begin(self):
        show(self.database, SLOW[self.database.family])


class Half(Fault):
    def begin(self):
        show(self.database, BROKEN[self.database.family])


class NoRoom(Fault):
    """The account has as many connections as it may have."""

    def begin(self):
        if self.is_postgresql:
            self.database.execute(f"ALTER ROLE {ACCOUNT} CONNECTION LIMIT 0")
        else:
            self.database.execute(f"ALTER USER {ACCOUNT}@'%' WITH MAX_CONNECTIONS_PER_HOUR 1")
        self.database.disconnect()

    def end(self):
        if self.is_postgresql:
            self.database.execute(f"ALTER ROLE {ACCOUNT} CONNECTION LIMIT -1")
        else:
            self.database.execute(f"ALTER USER {ACCOUNT}@'%' WITH MAX_CONNECTIONS_PER_HOUR 0; FLUSH USER_RESOURCES")


class OtherPassword(Fault):
    def begin(self):
        self._set("another")
        self.database.disconnect()

    def end(self):
        self._set(PASSWORD)

    def _set(self, password):
        if self.is_postgresql:
            self.database.execute("ALTER ROLE {} PASSWORD '{}'".format(ACCOUNT, password.replace("'", "''")))
        else:
            quoted = password.replace("\\", "\\\\").replace("'", "''")
            self.database.execute(f"ALTER USER {ACCOUNT}@'%' IDENTIFIED BY '{quoted}'")


class Dropped(Fault):
    def begin(self):
        if self.is_postgresql:
            self.database.execute("ALTER DATABASE mail ALLOW_CONNECTIONS false", database="postgres")
            self.database.disconnect()
            self.database.execute("ALTER DATABASE mail RENAME TO gone", database="postgres")
        else:
            self.database.execute("CREATE DATABASE gone; RENAME TABLE mail.users TO gone.users; DROP DATABASE mail", "")

    def end(self):
        if self.is_postgresql:
            self.database.execute("ALTER DATABASE gone RENAME TO mail; ALTER DATABASE mail ALLOW_CONNECTIONS true", database="postgres")  # fmt: skip
        else:
            self.database.execute("CREATE DATABASE mail; RENAME TABLE gone.users TO mail.users; DROP DATABASE gone", "")
            show(self.database)


class Empty(Fault):
    removes = True

    def begin(self):
        self.database.execute("CREATE TABLE kept AS SELECT * FROM users; DELETE FROM users")

    def end(self):
        self.database.execute("INSERT INTO users SELECT * FROM kept; DROP TABLE kept")


EVERY = (Killed, Hung, Expired, OtherPassword, Locked, Slow, Half, NoRoom, Dropped, Empty)
FAULTS = EVERY if SOAK else (Locked, Half)


@pytest.mark.timeout(300)
def test_no_recipient_is_refused_whatever_happens_to_the_database(database, authority, server):
    if database.family == "mysql" and not SOAK:
        pytest.skip("the long form: set MAILMOAT_TEST_SOAK=1")
    lookup = "SELECT address, active FROM recipients WHERE address = :address"
    live = {
        "mode": "live",
        "lookup_query": lookup,
        "cache_time": "0s",
        "absent_cache_time": "0s",
        "domains": "live.test",
    }
    read = {
        "query": "SELECT * FROM recipients WHERE address LIKE '%@example.test'",
        "interval": "0.3s",
        "domains": "example.test",
    }
    mx = server(
        **rows(
            {"name": "read", **access(database, authority), **read},
            {"name": "asked", **access(database, authority), **live},
        ),
        MAILMOAT_RELAY__LOCAL_DOMAINS="example.test,live.test",
        MAILMOAT_LIMITS__UNKNOWN_RECIPIENT_RATE="off",
    )

    def well():
        states = [one.state for one in freshness.read(mx.directory / "spool" / "directory" / "freshness").sources]
        return states == [SyncState.CURRENT] and [code(mx, one) for one in asked] == [250, 550, 250, 550]

    asked = ["ann@example.test", "eve@example.test", "ann@live.test", "eve@live.test"]
    mx.until(well, 60, what="both sources to be in force")
    print(f"\n{database.family}: known, not known; asked before, never asked, not known; reason")
    for number, kind in enumerate(FAULTS):
        database.execute(f"INSERT INTO users VALUES({4000 + number}, 'new{number}@live.test')")
        fault, begun = kind(database, authority), time.monotonic()
        fault.begin()
        try:
            mx.until(lambda: known(mx).state in (SyncState.FAILED, SyncState.SHRUNK), 60, what=f"{kind.__name__} to be noticed")  # fmt: skip
            noticed, reason = time.monotonic() - begun, known(mx).reason
            replies = [code(mx, one) for one in (*asked[:3], f"new{number}@live.test", asked[3])]
        finally:
            fault.end()
        print(f"{kind.__name__}: {replies} after {noticed:.1f} s: {reason}")
        *found, absent = replies
        assert found == ([250, 550, 550, 550] if fault.removes else [250, 550, 250, 451]), kind.__name__
        assert absent in (451, 550)  # of a slow or broken query there may still be the answer that there is no such row
        assert PASSWORD not in reason
        mx.until(well, 60, what=f"the end of {kind.__name__}")
