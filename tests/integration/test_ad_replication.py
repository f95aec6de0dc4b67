"""Two controllers that replicate: the source changes over between them, while the other one is up to date and while it is behind.

`MAILMOAT_TEST_SOAK=1` alone: a controller needs some time to join.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from tests.integration.test_ad import READER, STRANGER, Follower, modify
from tests.namespace import alone
from tests.samba import PASSWORD, account, user
from tests.samba_replication import Domain, replicating

from mailmoat.directory import preference
from mailmoat.directory.ad import notices

USERS = 20


@pytest.fixture(scope="module")
def domain():
    if os.environ.get("MAILMOAT_TEST_SOAK") != "1":
        pytest.skip("the long form: set MAILMOAT_TEST_SOAK=1")
    directory = Path(tempfile.mkdtemp(prefix="mailmoat-ad-"))
    with alone():
        made = Domain(directory)
        users = [user(f"u{number}", mail=f"u{number}@example.test") for number in range(USERS)]
        rights = [["CN=Deleted Objects,BASE", {"reader": "RPLC"}, "grant"]]
        made.second.fill([account("reader"), account("stranger"), *users], rights)
        with replicating(made):
            made.replicate(made.first, made.second)
            yield made
    shutil.rmtree(directory)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(notices, "SPACING", 0.1)
    monkeypatch.setattr(preference, "FIRST_PAUSE", 0.2)


@pytest.fixture
def password(tmp_path):
    written = tmp_path / "password"
    written.write_text(f"{PASSWORD}\n")
    return written


def new(name):
    return f"dn: CN={name},CN=Users,BASE\nchangetype: add\nobjectClass: contact\nmail: {name}@example.test\n"


def gone(name):
    return f"dn: CN={name},CN=Users,BASE\nchangetype: delete\n"


def more(name, address):
    return f"dn: CN={name},CN=Users,BASE\nchangetype: modify\nadd: proxyAddresses\nproxyAddresses: smtp:{address}\n"


def at(follower, controller):
    return follower.server.startswith(f"ads://{controller.address}:")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("login", [READER, STRANGER])
@pytest.mark.parametrize("port", [636, 3269])
def test_changes_are_followed_to_the_other_controller_and_back(domain, password, port, login):
    first, second = domain.first, domain.second
    name = f"way{port}{login[0]}"

    async def scenario():
        follower = Follower((first, second), password, port=port, login=login, interval=0.5)
        async with follower.following() as task:
            before = follower.addresses
            await modify(first, new(f"{name}1"))
            await modify(second, new(f"{name}2"))
            both = before | {f"{name}1@example.test", f"{name}2@example.test"}
            await follower.until(lambda: follower.addresses == both, task, seconds=60)
            domain.replicate(second, first)
            first.stop()
            await follower.until(lambda: at(follower, second), task)
            assert follower.addresses == both
            await modify(second, new(f"{name}3"))
            await modify(second, gone(f"{name}1"))
            after = both - {f"{name}1@example.test"} | {f"{name}3@example.test"}
            await follower.until(lambda: follower.addresses == after, task)
            # The first one comes back without what was made meanwhile, and receives it while it is asked.
            first.start()
            await follower.until(lambda: at(follower, first), task, seconds=60)
            assert follower.addresses >= after
            domain.replicate(first, second)
            await modify(first, gone(f"{name}3"))
            after.remove(f"{name}3@example.test")
            await follower.until(lambda: follower.addresses == after, task, seconds=60)
            assert follower.reads == (1 if port == 636 else 3)

    asyncio.run(scenario())


@pytest.mark.timeout(600)
@pytest.mark.parametrize("login", [READER, STRANGER])
@pytest.mark.parametrize("port", [636, 3269])
def test_a_controller_that_is_behind_removes_nothing_and_catches_up(domain, password, port, login, monkeypatch):
    monkeypatch.setattr(preference, "FIRST_PAUSE", 600.0)
    first, second = domain.first, domain.second
    name = f"lag{port}{login[0]}"

    async def scenario():
        await modify(first, new(f"{name}0"))
        domain.replicate(second, first)
        domain.replicates(second, inbound=False)
        follower = Follower((first, second), password, port=port, login=login, interval=0.5)
        async with follower.following() as task:
            await modify(first, new(name))
            await modify(first, more("u1", f"{name}.u1@example.test"))
            there = {f"{name}@example.test", f"{name}.u1@example.test"}
            await follower.until(lambda: there <= follower.addresses, task)
            before = follower.addresses
            await modify(first, gone(f"{name}0"))
            first.stop()
            await follower.until(lambda: at(follower, second), task)
            await modify(
                second, more("u2", f"{name}.u2@example.test")
            )  # it is the last step behind the change of controllers
            await follower.until(lambda: f"{name}.u2@example.test" in follower.addresses, task)
            assert follower.addresses - {f"{name}0@example.test"} == before - {f"{name}0@example.test"} | {
                f"{name}.u2@example.test"
            }
            if port == 3269:  # read whole there: it really is behind
                assert f"{name}0@example.test" in follower.addresses
            await modify(second, f"dn: CN=u1,CN=Users,BASE\nchangetype: modify\nreplace: info\ninfo: {name}\n")
            first.start()
            domain.replicates(second, inbound=True)
            domain.replicate(second, first)
            await modify(second, gone(name))  # which it could not before
            await follower.until(lambda: f"{name}@example.test" not in follower.addresses, task, seconds=60)
            assert f"{name}.u1@example.test" in follower.addresses

    asyncio.run(scenario())
