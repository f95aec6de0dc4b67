"""What is kept of a session for its line in the log: bounded, first and last, the rest counted."""

import gc
import sys
import types
from enum import Enum

import pytest
from tests.doubles.policy import Counted, view

from mailmoat import maillog
from mailmoat._native import Address, End
from mailmoat.policy.agents.recipient_filter import USER_UNKNOWN, RecipientRule
from mailmoat.policy.agents.relay import RelayRule
from mailmoat.policy.agents.sender_id import SenderRule
from mailmoat.policy.agents.submitter import SubmitterRule
from mailmoat.policy.verdict import PASS, Reject
from mailmoat.receive.session_log import SessionLog


def session(number, reverse_path="s@remote.tld"):
    """What the record asks of a session machine."""
    return types.SimpleNamespace(
        transactions=number, reverse_path=reverse_path, end=End.QUIT, helo_name="c", replies=[0] * 6, refusals=[],
        origin={}, refusals_left_out=0, injected=0, commands=1, messages=0, holds=0, held=0,
    )  # fmt: skip


NO = Reject(USER_UNKNOWN, RecipientRule.UNKNOWN)
RULES = [*RecipientRule, *RelayRule, *SubmitterRule, *SenderRule]


@pytest.fixture
def written(monkeypatch):
    lines = []
    monkeypatch.setattr(maillog, "message_accepted", lambda **fields: None)
    monkeypatch.setattr(maillog, "session_ended", lambda **fields: lines.append(fields))
    return lines


def message(queue_id, size):
    return types.SimpleNamespace(
        queue_id=queue_id, size=size, session_id="s", client="c", reverse_path="s@remote.tld", recipients=[]
    )


def octets_of(record):
    """All that only this record holds."""
    seen, stack, octets = set(), [record], 0
    while stack:
        entry = stack.pop()
        if id(entry) in seen or isinstance(entry, (type, Enum)):
            continue
        seen.add(id(entry))
        octets += sys.getsizeof(entry)
        stack += gc.get_referents(entry)
    return octets


def test_the_record_of_the_longest_session_is_below_8_kib(written):
    record = SessionLog()
    for number in range(1, 50):
        longest = Address.parse(f"{'m' * 64}@{'d' * 60}.{'d' * 60}.{'d' * 50}.tld")
        for recipient in range(100):
            address = Address.parse(f"{'r' * 60}{recipient:04}@{'d' * 60}.{'d' * 60}.{'d' * 50}.tld")
            record.judged(session(number, longest), view(recipient=address), NO)
    for number in range(1000):
        record.decided(RULES[number % len(RULES)], Counted())
    assert octets_of(record) <= 6 << 10  # the session machine keeps four replies of 512 octets
    record.write(session(49), view(), 0, Counted())
    [line] = written
    assert len(line["transactions"]) == 2
    assert line["transactions_left_out"] == 47
    first = line["transactions"][0]
    assert [address[60:64] for address, _ in first.recipients] == ["0000", "0001", "0098", "0099"]
    assert first.recipients_left_out == 96


def test_a_short_session_is_kept_whole(written):
    record = SessionLog()
    record.judged(session(1), view(recipient="a@x.test"), PASS)
    record.judged(session(1), view(recipient="b@x.test"), NO)
    record.accepted(session(1), view(), message("q1", 10), Counted())
    record.judged(session(2), view(recipient="c@x.test"), PASS)
    record.write(session(2), view(), 0, Counted())
    [line] = written
    assert [(one.mail_from, one.recipients, one.queue_id, one.octets) for one in line["transactions"]] == [
        ("s@remote.tld", (("a@x.test", 250), ("b@x.test", 550)), "q1", 10),
        ("s@remote.tld", (("c@x.test", 250),), "", 0),
    ]
    assert (line["transactions_left_out"], line["octets"]) == (0, 10)
