"""The file of accounts as a backend: what it offers, that failures cost the same, what is remembered, and how a changed file is read."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading

import pytest

from mailmoat import clock, files, maillog
from mailmoat.auth import account_file, verifiers
from mailmoat.auth.accounts import Account
from mailmoat.auth.authenticator import Backend, Cause, Challenge, Channel, Failure, Success
from mailmoat.auth.composition import SECRET_NAME, open_backend
from mailmoat.auth.verifiers import Argon2Cost, Argon2Hash, ScramCost, ScramKeys
from mailmoat.errors import ConfigError
from mailmoat.events import Event
from mailmoat.settings import Settings

CLEAR = Channel("192.0.2.1", "192.0.2.25", secured=False)
SECURED = Channel("192.0.2.1", "192.0.2.25", secured=True)
BOUND = Channel("192.0.2.1", "192.0.2.25", True, b"e" * 32, b"p" * 32)
QUICK, SLOWER, ROUNDS = Argon2Cost(8, 1), Argon2Cost(8, 2), ScramCost(4096)


def hashed(password, cost=QUICK):
    return Argon2Hash(cost, b"s" * 16, cost.hash(password.encode(), b"s" * 16))


def keys(password):
    return ScramKeys.make(password.encode(), b"s" * 16, ROUNDS)


ACCOUNTS = (
    Account("Alice@a.test", hashed("alice's"), keys("alice's")),
    Account("slow", hashed("slow's", SLOWER)),
    Account("scram", None, keys("scram's"), may_relay=False),
    Account("former", hashed("former's"), keys("former's"), enabled=False),
)


@pytest.fixture(autouse=True)
def log(monkeypatch):
    written = []
    monkeypatch.setattr(maillog, "event", lambda event, **fields: written.append((event, fields)))
    return written


@pytest.fixture
def file(public):
    path = public / "accounts"
    write(path, *ACCOUNTS)
    return path


def write(path, *accounts):
    path.write_text("".join(f"{account.line()}\n" for account in accounts))
    path.chmod(0o600)


@pytest.fixture
def backend(file, tmp_path):
    made = []

    def make(**auth) -> Backend:
        settings = Settings(spool_dir=str(tmp_path), auth={"file": str(file), **auth})
        backend = open_backend(settings)
        assert backend is not None
        made.append(backend)
        return backend

    yield make
    for each in made:
        each.close()


async def ended(answer):
    return answer if isinstance(answer, Challenge | Success | Failure) else await answer


def plain(backend, name, password):
    """The answer to PLAIN."""
    return asyncio.run(ended(backend.begin("PLAIN", SECURED).respond(f"\0{name}\0{password}".encode())))


# --- what is offered ---


def test_nothing_without_tls_and_all_with_a_binding(backend):
    accounts = backend()
    assert accounts.mechanisms(CLEAR) == ()
    assert accounts.begin("PLAIN", CLEAR) is None
    assert accounts.mechanisms(SECURED) == ("SCRAM-SHA-256", "PLAIN", "LOGIN")
    assert accounts.begin("SCRAM-SHA-256-PLUS", SECURED) is None
    assert accounts.mechanisms(BOUND) == ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN")


def test_the_settings_choose(backend):
    accounts = backend(mechanisms="login, scram-sha-256, GSSAPI")
    assert accounts.mechanisms(BOUND) == ("SCRAM-SHA-256", "LOGIN")
    assert accounts.begin("PLAIN", SECURED) is None
    # -PLUS is not offered, so a client that could is right to say that it saw none.
    assert isinstance(accounts.begin("SCRAM-SHA-256", BOUND).respond(b"y,,n=alice@a.test,r=x"), Challenge)
    assert accounts.begin("GSSAPI", BOUND) is None


def test_no_source_without_a_setting(tmp_path):
    assert open_backend(Settings(spool_dir=str(tmp_path))) is None


def test_a_server_without_accounts_imports_nothing_for_them():
    code = "import sys, mailmoat.worker, mailmoat.supervisor.supervisor; print([name for name in sys.modules if 'argon2' in name])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "[]\n"


# --- who is who ---


def test_each_account_by_its_password(backend):
    accounts = backend()
    for name, password, spelled, may_relay in (
        ("alice@A.TEST", "alice's", "Alice@a.test", True),
        ("slow", "slow's", "slow", True),
        ("scram", "scram's", "scram", False),
    ):
        found = plain(accounts, name, password)
        assert isinstance(found, Success)
        assert (found.identity.name, found.identity.may_relay) == (spelled, may_relay)
        assert plain(accounts, name, password + "x") == Failure(Cause.CREDENTIALS, name)
    assert plain(accounts, "former", "former's") == Failure(Cause.CREDENTIALS, "former")
    assert plain(accounts, "nobody", "x") == Failure(Cause.CREDENTIALS, "nobody")


def test_auth_relay_off_holds_for_all(backend):
    assert not plain(backend(relay="off"), "slow", "slow's").identity.may_relay


# --- one answer, one time ---


@pytest.fixture
def spent(monkeypatch):
    """The costs of the checks that were made."""
    costs = []
    for kind, method in ((Argon2Cost, "hash"), (ScramCost, "salted")):
        real = getattr(kind, method)
        monkeypatch.setattr(kind, method, lambda cost, *a, _real=real: (costs.append(cost), _real(cost, *a))[1])
    return costs


@pytest.mark.parametrize(
    ("name", "password"),
    [("alice@a.test", "x"), ("slow", "x"), ("scram", "x"), ("former", "former's"), ("former", "x"), ("nobody", "x")],
)
def test_whatever_fails_spends_each_cost_once(backend, spent, name, password):
    accounts = backend()
    for _ in range(2):
        spent.clear()
        assert plain(accounts, name, password) == Failure(Cause.CREDENTIALS, name)
        assert sorted(map(str, spent)) == sorted(map(str, (QUICK, SLOWER, ROUNDS)))


def test_a_name_without_keys_gets_a_challenge_like_others(backend, tmp_path):
    """The same one each time, at another worker and after a restart; nobody gets in by it."""

    def challenge(accounts, name):
        answer = accounts.begin("SCRAM-SHA-256", SECURED).respond(f"n,,n={name},r=abc".encode())
        assert isinstance(answer, Challenge)
        return dict(part.split("=", 1) for part in answer.octets.decode().split(","))

    one, other = backend(), backend()
    real = challenge(one, "alice@a.test")
    for name in ("nobody", "slow", "former"):
        decoy = challenge(one, name)
        assert decoy["s"] == challenge(one, name.upper())["s"] == challenge(other, name)["s"]
        assert decoy["s"] != real["s"]
        assert (len(decoy["s"]), decoy["i"], len(decoy["r"])) == (len(real["s"]), real["i"], len(real["r"]))
    assert challenge(one, "nobody")["s"] != challenge(one, "nobody2")["s"]
    secret = tmp_path / SECRET_NAME
    assert secret.stat().st_mode & 0o777 == 0o600
    assert len(secret.read_bytes()) == 32
    secret.write_bytes(b"short")
    assert challenge(backend(), "nobody")["s"] == challenge(backend(), "nobody")["s"]
    assert len(secret.read_bytes()) == 32


def test_a_spool_directory_that_is_not_there_costs_no_start(tmp_path, file):
    accounts = open_backend(Settings(spool_dir=str(tmp_path / "none"), auth={"file": str(file)}))
    assert isinstance(accounts.begin("SCRAM-SHA-256", SECURED).respond(b"n,,n=nobody,r=x"), Challenge)
    accounts.close()


# --- the queue ---


def test_above_the_queue_clients_come_back_later(backend, monkeypatch):
    go, real = threading.Event(), Argon2Cost.hash
    monkeypatch.setattr(Argon2Cost, "hash", lambda *a: (go.wait(20), real(*a))[1])
    accounts = backend(hashing_queue=3)

    async def all_of_them():
        waiting = [asyncio.ensure_future(accounts.check("slow", "slow's")) for _ in range(3)]
        await asyncio.sleep(0)
        assert await accounts.check("slow", "slow's") is Cause.BUSY
        waiting[2].cancel()  # its client has gone
        await asyncio.sleep(0)
        waiting[2] = asyncio.ensure_future(accounts.check("slow", "x"))
        await asyncio.sleep(0)
        assert await accounts.check("nobody", "x") is Cause.BUSY
        go.set()
        *right, wrong = await asyncio.gather(*waiting)
        assert {found.name for found in right} == {"slow"}
        assert wrong is Cause.CREDENTIALS
        assert await accounts.check("slow", "x") is Cause.CREDENTIALS

    asyncio.run(all_of_them())
    assert Cause.BUSY.temporary


def test_the_thread_has_a_lower_priority(backend, monkeypatch):
    nice = []
    real = Argon2Cost.hash

    def hash_(*arguments):
        nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return real(*arguments)

    monkeypatch.setattr(Argon2Cost, "hash", hash_)
    plain(backend(), "slow", "slow's")
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert nice[0] == min(ours + 10, 19)


def test_the_thread_does_not_inherit_a_realtime_priority(backend, monkeypatch):
    policies = []
    real = Argon2Cost.hash

    def hash_(*arguments):
        policies.append(os.sched_getscheduler(0))
        return real(*arguments)

    monkeypatch.setattr(Argon2Cost, "hash", hash_)
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        pytest.skip("no right to a realtime priority")
    try:
        plain(backend(), "slow", "slow's")
    finally:
        os.sched_setscheduler(0, *before)
    assert set(policies) == {os.SCHED_OTHER}


def test_where_no_priority_can_be_set_passwords_are_checked_all_the_same(backend, monkeypatch):
    def forbidden(*_):
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", forbidden)
    assert isinstance(plain(backend(), "slow", "slow's"), Success)


def test_no_memory_is_temporary(backend, monkeypatch):
    accounts = backend()

    def no_memory(*_):
        raise verifiers.HashingError

    monkeypatch.setattr(verifiers, "hash_secret_raw", no_memory)
    assert plain(accounts, "slow", "slow's") == Failure(Cause.UNAVAILABLE, "slow")


# --- what is remembered ---
# The costs of the file are spent in its order up to that of the account.


@pytest.fixture
def now(monkeypatch):
    time = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: time[0])
    return time


def test_a_right_password_is_remembered_for_a_while_and_a_wrong_one_never(backend, spent, now):
    accounts = backend()
    assert isinstance(plain(accounts, "slow", "slow's"), Success)
    assert spent == [QUICK, SLOWER]
    spent.clear()
    assert isinstance(plain(accounts, "SLOW", "slow's"), Success)
    assert spent == []
    assert plain(accounts, "slow", "slow's ") == Failure(Cause.CREDENTIALS, "slow")
    assert len(spent) == 3
    spent.clear()
    now[0] += 301
    assert isinstance(plain(accounts, "slow", "slow's"), Success)
    assert spent == [QUICK, SLOWER]


def test_nothing_is_remembered_when_that_is_off(backend, spent):
    accounts = backend(cache_time=0)
    for _ in range(2):
        assert isinstance(plain(accounts, "slow", "slow's"), Success)
    assert spent == [QUICK, SLOWER] * 2


# --- a changed file ---


def seen(accounts, times=1):
    """Ticks, and whatever they began."""

    async def tick():
        loop = asyncio.get_running_loop()
        for _ in range(times):
            accounts.tick(loop)
            await loop.run_in_executor(None, int)
            await loop.run_in_executor(None, int)
            await asyncio.sleep(0)

    asyncio.run(tick())


def age(path, seconds=60):
    """As if it was written some time ago."""
    os.utime(path, ns=(clock.wall_ms() * 10**6 - seconds * 10**9,) * 2)


def test_a_changed_file_is_read_and_a_forgotten_password_is_wrong(backend, file, log):
    accounts = backend()
    assert isinstance(plain(accounts, "slow", "slow's"), Success)
    write(file, ACCOUNTS[0], Account("slow", hashed("new")), ACCOUNTS[3])
    age(file)
    seen(accounts)
    assert plain(accounts, "slow", "slow's") == Failure(Cause.CREDENTIALS, "slow")
    assert isinstance(plain(accounts, "slow", "new"), Success)
    assert plain(accounts, "scram", "scram's") == Failure(Cause.CREDENTIALS, "scram")
    assert [fields["accounts"] for event, fields in log if event is Event.ACCOUNTS_READ] == [4, 3]


def test_a_mistake_is_said_once_and_changes_nothing(backend, file, log):
    accounts = backend()
    log.clear()
    file.write_text(file.read_text() + "x secret-word\n")
    age(file)
    seen(accounts, 3)
    assert isinstance(plain(accounts, "slow", "slow's"), Success)
    ((event, fields),) = log
    assert event is Event.ACCOUNTS_REFUSED
    assert fields["detail"].startswith(f"{file}: line 5: a word after the name")
    assert "secret" not in fields["detail"]


def test_a_file_that_could_not_be_read_is_tried_again(backend, file, log, now, monkeypatch):
    real = account_file.accounts.read

    def broken(_):
        raise ConfigError(["it cannot be read: Input/output error"])

    accounts = backend()
    log.clear()
    monkeypatch.setattr(account_file.accounts, "read", broken)
    file.write_text(file.read_text() + "# \n")
    age(file)
    seen(accounts)
    for _ in range(3):
        now[0] += 61
        seen(accounts)
    assert [event for event, _ in log] == [Event.ACCOUNTS_REFUSED]
    monkeypatch.setattr(account_file.accounts, "read", real)
    seen(accounts)
    assert len(log) == 1
    now[0] += 61
    seen(accounts, 2)
    assert [event for event, _ in log] == [Event.ACCOUNTS_REFUSED, Event.ACCOUNTS_READ]


def test_a_file_that_may_be_unfinished_waits(backend, file, log, now):
    accounts = backend()
    log.clear()
    write(file, ACCOUNTS[1])
    seen(accounts, 2)
    assert isinstance(plain(accounts, "scram", "scram's"), Success)
    assert [event for event, _ in log] == [Event.ACCOUNTS_WAIT]
    now[0] += 11
    seen(accounts)
    assert plain(accounts, "scram", "scram's") == Failure(Cause.CREDENTIALS, "scram")


def test_without_a_file_it_is_temporary_until_there_is_one(backend, file, log):
    file.unlink()
    accounts = backend()
    assert not accounts.usable
    assert log == [(Event.ACCOUNTS_REFUSED, {"detail": f"{file}: it cannot be read: No such file or directory"})]
    assert plain(accounts, "slow", "slow's") == Failure(Cause.UNAVAILABLE, "slow")
    scram = accounts.begin("SCRAM-SHA-256", SECURED).respond(b"n,,n=slow,r=x")
    assert scram == Failure(Cause.UNAVAILABLE, "slow")
    write(file, *ACCOUNTS)
    seen(accounts)
    assert accounts.usable
    assert isinstance(plain(accounts, "slow", "slow's"), Success)
    file.unlink()
    seen(accounts)
    assert isinstance(plain(accounts, "slow", "slow's"), Success)


@pytest.mark.parametrize(("mode", "said"), [(0o600, ""), (0o640, ""), (0o644, "can read"), (0o662, "can change")])
def test_who_else_may_read_it_is_said(backend, file, log, mode, said):
    file.chmod(mode)
    backend()
    exposed = [fields["detail"] for event, fields in log if event is Event.ACCOUNTS_EXPOSED]
    assert len(exposed) == bool(said)
    assert said in "".join(exposed)
    file.parent.chmod(0o700)
    assert files.exposed(file) == "", "nobody else enters the directory"


def test_hundreds_of_checks_at_once_all_get_their_own_answer(backend):
    accounts = backend(hashing_queue=500, cache_time=0)

    async def everybody():
        names = ["slow", "scram", "nobody", "alice@a.test"] * 50
        found = await asyncio.gather(*(accounts.check(name, f"{name.partition('@')[0]}'s") for name in names))
        return [each if isinstance(each, Cause) else each.name for each in found]

    assert asyncio.run(everybody()) == ["slow", "scram", Cause.CREDENTIALS, "Alice@a.test"] * 50


def test_a_closed_backend_checks_nothing(backend):
    accounts = backend()
    accounts.close()
    assert plain(accounts, "slow", "slow's") == Failure(Cause.BUSY, "slow")
