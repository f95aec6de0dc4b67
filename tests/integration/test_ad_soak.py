"""A domain of 20,000 users at two real domain controllers, and a server that filters recipients by it. `MAILMOAT_TEST_SOAK=1` alone.

Figures are printed (`-s`): time of the first read, of a change from the controller to the reply to RCPT, and of a fail-over.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests import samba
from tests.certificates import Authority
from tests.integration.conftest import Server, wait_for
from tests.samba import PASSWORD, account, own_address, provision, user

USERS = int(os.environ.get("MAILMOAT_TEST_AD_USERS", "20000"))
IN_A_STEP = 100
"""Samba takes longer for each object, the more of them a transaction has."""
ENOUGH = 6
"""Sessions, so that each worker has most likely had one."""


def users(first):
    return [
        user(
            f"user{number:05}",
            mail=f"user{number:05}@example.test",
            proxyAddresses=[f"SMTP:user{number:05}@example.test", f"smtp:u{number:05}@example.test"],
        )
        for number in range(first, min(first + IN_A_STEP, USERS))
    ]


@pytest.fixture(scope="module")
def domain():
    if os.environ.get("MAILMOAT_TEST_SOAK") != "1":
        pytest.skip("the long form: set MAILMOAT_TEST_SOAK=1")
    directory = Path(tempfile.mkdtemp(prefix="mailmoat-ad-"))
    first = provision(directory / "dc1", own_address(1), Authority(directory / "ca"))
    with timed("filling"):
        first.fill([account("reader")], [["CN=Deleted Objects,BASE", {"reader": "RPLC"}, "grant"]])
        first.fill(*(users(number) for number in range(0, USERS, IN_A_STEP)))
    second = first.twin(directory / "dc2", own_address(2), "dc2")
    with samba.running(first), samba.running(second):
        yield first, second
    shutil.rmtree(directory)


@contextmanager
def timed(what):
    begun = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - begun:.2f} s")


def server_for(domain, directory):
    """A server that refuses disabled accounts, too, so that disabling is seen."""
    (directory / "password").write_text(PASSWORD)
    return Server(
        directory,
        f"""
        [[directories]]
        name = "office"
        url = "{", ".join(f"ads://{controller.address}" for controller in domain)}"
        account = "reader@{samba.REALM}"
        password_file = "{directory / "password"}"
        tls_ca = "{domain[0].authority.certificate}"
        disabled_accounts = "refuse"
        """,
    )


def code(server, address):
    """The reply to RCPT in a session of its own."""
    client = server.client()
    try:
        assert client.ask("MAIL FROM:<someone@remote.tld>").startswith("250")
        return int(client.ask(f"RCPT TO:<{address}>")[:3])
    finally:
        client.close()


def seen(server, address, expected, what):
    """Wait for the reply of all workers; the time it took is printed."""
    with timed(what):
        wait_for(
            lambda: all(code(server, address) == expected for _ in range(ENOUGH)),
            seconds=60,
            what=f"{expected} for {address}",
        )


def modify(controller, name, text):
    controller.modify(f"dn: CN={name},CN=Users,BASE\nchangetype: {text}\n")


@pytest.mark.timeout(3600)  # most of it for Samba to make the users
def test_a_change_is_seen_in_the_reply_to_rcpt(domain, public):
    first, second = domain
    server = server_for(domain, public)
    try:
        with timed("start of the server"):
            server.start()
        seen(server, f"user{USERS - 1:05}@example.test", 250, "first read, in force")
        seen(server, "u00000@example.test", 250, "a secondary address")
        seen(server, "nobody@example.test", 550, "an address that does not exist")
        modify(first, "user00111", "modify\nadd: proxyAddresses\nproxyAddresses: smtp:new@example.test")
        seen(server, "new@example.test", 250, "a new address")
        modify(first, "user00222", "delete")
        seen(server, "user00222@example.test", 550, "a deletion")
        modify(first, "user00333", "modify\nreplace: userAccountControl\nuserAccountControl: 546")
        seen(server, "user00333@example.test", 550, "a disabled account")
        first.stop()
        modify(second, "user00444", "modify\nadd: proxyAddresses\nproxyAddresses: smtp:two@example.test")
        seen(server, "two@example.test", 250, "fail-over, and a new address at the other controller")
        second.stop()
        seen(server, "user00444@example.test", 250, "without any controller")
    finally:
        server.stop()
