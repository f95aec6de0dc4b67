"""The connection filter beside its transcripts: what the log says, and what is noted of a client."""

from types import SimpleNamespace

import pytest
from tests.doubles.policy import services, view

from mailmoat import settings as tree
from mailmoat._native import Address, compile_lists
from mailmoat.policy.agents.connection_filter import ConnectionFilter
from mailmoat.policy.blocked_clients import ConnectionRule
from mailmoat.policy.client import Trust
from mailmoat.policy.verdict import PASS
from mailmoat.reputation.evidence import Evidence


class Notes(list):
    """What is noted, in place of a reputation."""

    def note(self, address, evidence, count=1):
        self.append((address, evidence, count))


@pytest.fixture
def given(tmp_path):
    """The services of a server with one blocked prefix."""
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "block").write_text("198.51.100.0/24 # guesses addresses\n2001:db8::/32\n")
    target = str(tmp_path / "lists" / "lists.snapshot")
    compile_lists(target, [(str(tmp_path / "lists" / "block"), False, False, True)], 0)
    environment = {"MAILMOAT_SPOOL_DIR": str(tmp_path), "MAILMOAT_RELAY__LOCAL_DOMAINS": "example.test"}
    made = services(tree.load(environment=environment))
    return SimpleNamespace(settings=made.settings, lists=made.lists, reputation=Notes())


def ask(agent, peer, recipient="alice@example.test", **other):
    return agent.on_rcpt(view(peer, recipient=Address.parse(recipient), **other))


def test_the_log_says_which_entry_refused(given):
    agent = ConnectionFilter(given)
    refused = ask(agent, "198.51.100.7")
    assert str(refused.reply) == "550 5.7.1 Client [198.51.100.7] is blocked"
    assert (refused.rule, refused.detail) == (ConnectionRule.BLOCKED, "198.51.100.0/24 in block: guesses addresses")
    assert ask(agent, "2001:db8::7").detail == "2001:db8::/32 in block"
    assert ask(agent, "203.0.113.7") is ask(agent, "") is PASS


def test_a_blocked_client_is_noted_once_a_session(given):
    agent = ConnectionFilter(given)
    for session in ("t-1", "t-1", "t-2"):
        ask(agent, "198.51.100.7", session_id=session)
    ask(agent, "203.0.113.7")
    assert given.reputation == [("198.51.100.7", Evidence.LISTED, 1)] * 2


@pytest.mark.parametrize(
    "trust", [Trust(internal=True), Trust(front_server=True), Trust(authenticated=True), Trust(allowed=True)]
)
def test_a_client_that_is_trusted_is_not_judged(given, trust):
    seen = view("198.51.100.7", recipient=Address.parse("alice@example.test"))
    seen.client = SimpleNamespace(address="198.51.100.7", trust=trust)
    assert ConnectionFilter(given).on_rcpt(seen) is PASS
    assert given.reputation == []
