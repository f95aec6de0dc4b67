"""The addresses that an account may send from, and the agent that holds it to them."""

import asyncio

import pytest
from tests.doubles.policy import client, services, view

from mailmoat import settings
from mailmoat._native import Address, Normalisation
from mailmoat.auth import checks
from mailmoat.auth.authenticator import Identity
from mailmoat.auth.senders import read
from mailmoat.errors import ConfigError
from mailmoat.policy.agents.sender_login import UNKNOWN, LoginRule, SenderLogin
from mailmoat.policy.verdict import PASS, Reject, Tempfail

LINES = """\
# Who may use which.
alice alice@example.test, Sales@example.test   # two
ALICE  @shop.test
bob,bob@example.test
machine *
jörg jörg@bücher.test
dora D.ora@dots.test
"""


def may(account, sender, text=LINES):
    return read(text, Normalisation("+", [("dots.test", "ignore", "keep", "-")])).may_use(
        account, Address.parse(sender)
    )


@pytest.mark.parametrize(
    ("account", "sender", "allowed"),
    [
        ("alice", "alice@example.test", True),
        ("Alice", "ALICE@EXAMPLE.TEST", True),
        ("alice", "sales+list@example.test", True),
        ("alice", "anybody@shop.test", True),
        ("alice", "bob@example.test", False),
        ("alice", "anybody@sub.shop.test", False),
        ("alice", "alice@other.test", False),
        ("bob", "bob@example.test", True),
        ("bob", "bobby@example.test", False),
        ("dora", "Do.ra-list@dots.test", True),
        ("dora", "dora@dots.test", False),
        ("machine", "whoever@wherever.test", True),
        ("jörg", "JÖRG@xn--bcher-kva.test", True),
        # Without a line an account has its own name alone, when that is an address.
        ("carol@example.test", "carol@example.test", True),
        ("carol@example.test", "carol+x@example.test", True),
        ("carol@example.test", "alice@example.test", False),
        ("carol", "carol@example.test", False),
        ("\x00", "carol@example.test", False),
    ],
)
def test_who_may_use_which(account, sender, allowed):
    assert may(account, sender) is allowed


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("\nalice\n", "line 2: there is no sender behind the account"),
        ("alice nobody", "line 1: nobody is no sender; write an address, @domain, or *"),
        ("alice @", "line 1: @ is no sender"),
        ("alice *@example.test, a b@\n", "line 1: "),
    ],
)
def test_a_mistake_names_its_line(text, mistake):
    with pytest.raises(ConfigError) as refused:
        read(text, Normalisation("+"))
    assert refused.value.mistakes[0].startswith(mistake)


def agent(tmp_path, text=LINES):
    file = tmp_path / "senders"
    file.write_text(text)
    loaded = settings.load(environment={"MAILMOAT_AUTH__SENDERS": str(file)})
    assert SenderLogin.is_on(loaded)
    given = services(loaded)
    return SenderLogin(given), given.watched


def judge(agent, sender, account="alice"):
    known = client()
    if account:
        object.__setattr__(known, "identity", Identity(account, "PLAIN"))
    return agent.on_mail(view(client=known, reverse_path=Address.parse(sender) if sender else None))


def test_a_sender_of_somebody_else_is_refused(tmp_path):
    made, _ = agent(tmp_path)
    assert judge(made, "alice@example.test") is PASS
    refused = judge(made, "bob@example.test")
    assert isinstance(refused, Reject)
    assert str(refused.reply) == "553 5.7.1 bob@example.test is not a sender address of your account"
    assert (refused.rule, refused.detail) == (LoginRule.NOT_OWN, "alice")
    # RFC 6409 3.2, and strangers are not judged here.
    assert judge(made, "") is PASS
    assert judge(made, "bob@example.test", account="") is PASS


def test_without_a_list_nothing_is_judged():
    assert not SenderLogin.is_on(settings.load(environment={}))


def test_a_list_that_cannot_be_used_is_for_now(tmp_path):
    made, _ = agent(tmp_path, "alice\n")
    assert judge(made, "alice@example.test") == Tempfail(UNKNOWN, LoginRule.UNREADABLE)
    assert judge(made, "alice@example.test", account="") is PASS


def test_check_config_names_the_line(tmp_path):
    file = tmp_path / "senders"
    loaded = settings.load(environment={"MAILMOAT_AUTH__SENDERS": str(file)})
    assert list(checks.mistakes(loaded)) == [f"auth.senders = {file}: it cannot be read: No such file or directory"]
    file.write_bytes(b"alice @x.test\nbob\n")
    [mistake] = checks.mistakes(loaded)
    assert mistake.startswith(f"auth.senders = {file}: line 2: there is no sender behind the account")
    file.write_bytes(b"\xff")
    assert list(checks.mistakes(loaded)) == [f"auth.senders = {file}: it is not UTF-8"]
    file.write_bytes(b"alice @x.test\n")
    assert list(checks.mistakes(loaded)) == []


def test_the_list_follows_its_file(tmp_path):
    made, watched = agent(tmp_path)
    file = tmp_path / "senders"
    file.write_text("alice\n")
    reread(*watched)
    assert judge(made, "alice@example.test") is PASS, "what cannot be used changes nothing"
    file.write_text("alice bob@example.test\n")
    reread(*watched)
    assert judge(made, "bob@example.test") is PASS
    assert isinstance(judge(made, "alice@example.test"), Reject)


def reread(file):
    async def read_now():
        await file.read_now(asyncio.get_running_loop())

    asyncio.run(read_now())
