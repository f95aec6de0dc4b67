"""The account at a next hop: its password comes from a file, and is in nothing that is shown."""

import os

import pytest

from mailmoat._native import Client, Credentials
from mailmoat.delivery import security as securities
from mailmoat.delivery.account import Account, AccountError
from mailmoat.delivery.security import UNUSABLE_ACCOUNT, Insecurity, Security
from mailmoat.delivery.tls_policy import TlsPolicy

SECRET = "correct horse"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "password"
    path.write_text(f"{SECRET}\n")
    return path


def test_the_password_is_in_nothing_that_is_shown(file):
    account = Account("edge", file)
    credentials = account.credentials()
    assert (repr(credentials), credentials.name) == ('Credentials("edge")', "edge")
    assert SECRET not in f"{credentials!r} {credentials} {vars(account)}"
    assert not [name for name in dir(credentials) if "password" in name]


def test_the_file_is_read_again_when_it_changes(file):
    account = Account("edge", file)
    first = account.credentials()
    assert account.credentials() is first
    file.write_text("another")
    assert account.credentials() is not first


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"", "1 to 255 octets"),
        (b"\n", "1 to 255 octets"),
        (b"x" * 256, "1 to 255 octets"),
        (b"edge:secret\nother:secret\n", "no control character"),
        (b"secret\x00", "no control character"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"x" * 1025, "more than a password"),
    ],
)
def test_what_is_no_password(file, content, wrong):
    file.write_bytes(content)
    with pytest.raises(AccountError, match=wrong) as raised:
        Account("edge", file).credentials()
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(AccountError, match="cannot be read: No such file"):
        Account("edge", tmp_path / "none").credentials()
    with pytest.raises(AccountError, match="cannot be read: Is a directory"):
        Account("edge", tmp_path).credentials()


def test_an_account_that_cannot_be_used_is_logged_once_until_it_can(file, monkeypatch):
    logged = []
    monkeypatch.setattr(
        securities.maillog, "event", lambda event, **fields: logged.append((fields["reason"], fields["detail"]))
    )
    security = Security("smtp://hub.test:25", account=Account("edge", file))

    def dialled(*replies: bytes) -> Client:
        client = security.prepare("192.0.2.1:25", "me.example", TlsPolicy()).client
        for reply in (b"220 hub\r\n", b"250-hub\r\n250 AUTH SCRAM-SHA-256\r\n", *replies):
            client.receive(reply)
            client.output()
        assert not security.opened("192.0.2.1:25", client)
        return client

    for _ in range(3):
        dialled(b"535 5.7.8 No\r\n")
    assert logged == [(Insecurity.ACCOUNT, "454 4.7.8 Not authenticated: 535 5.7.8 No")]
    # Something else went wrong: it says nothing of the account.
    dialled(b"421 4.3.2 Bye\r\n")
    file.unlink()
    for _ in range(2):
        with pytest.raises(AccountError) as raised:
            security.prepare("192.0.2.1:25", "me.example", TlsPolicy())
        assert security.unusable(raised.value) == UNUSABLE_ACCOUNT
    assert [detail for _, detail in logged[1:]] == [f"{file} cannot be read: {os.strerror(2)}"]


def test_credentials_are_checked():
    for name, password in (("", "x"), ("x", ""), ("a\nb", "x")):
        with pytest.raises(ValueError, match="1 to 255 octets"):
            Credentials(name, password)
