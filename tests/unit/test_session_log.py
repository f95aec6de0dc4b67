"""What is kept of a session for its line in the log: bounded, first and last, the rest counted."""

import gc
import sys
import types
from enum import Enum

import pytest
from tests.doubles.policy import Counted, view
from tests.receiving import config

from mailmoat import maillog
from mailmoat._native import Session, Stage, Step
from mailmoat.policy.agents.recipient_filter import RecipientRule
from mailmoat.policy.agents.relay import RelayRule
from mailmoat.policy.agents.sender_id import SenderRule
from mailmoat.policy.agents.submitter import SubmitterRule
from mailmoat.receive.session_log import SessionLog

RULES = [*RecipientRule, *RelayRule, *SubmitterRule, *SenderRule]


@pytest.fixture
def written(monkeypatch):
    lines = []
    monkeypatch.setattr(maillog, "message_accepted", lambda **fields: None)
    monkeypatch.setattr(maillog, "session_ended", lambda **fields: lines.append(fields))
    return lines


@pytest.fixture
def session(tmp_path):
    """A session that asks about each recipient."""
    begun = Session(config(tmp_path, asked=1 << Stage.RCPT, recipients=0), "s-1", "192.0.2.1", False)
    begun.connect()
    begun.receive(b"EHLO c.test\r\n")
    return begun


def rcpt(session, recipient, *, refused=False):
    step = session.receive(f"RCPT TO:<{recipient}>\r\n".encode())
    # After so many commands without a message the others come first.
    assert (session.proceed() if step is Step.YIELD else step) is Step.ASK
    if refused:
        session.refuse(550, "5.1.1", "User unknown")
    else:
        session.pass_()


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


def test_the_record_of_the_longest_session_is_below_8_kib(written, session):
    record = SessionLog()
    domain = f"{'d' * 60}.{'d' * 60}.{'d' * 50}.tld"
    for _ in range(1, 50):
        session.receive(f"RSET\r\nMAIL FROM:<{'m' * 64}@{domain}>\r\n".encode())
        for number in range(100):
            rcpt(session, f"{'r' * 60}{number:04}@{domain}", refused=True)
    for number in range(1000):
        record.decided(RULES[number % len(RULES)], Counted())
    assert octets_of(record) <= 2 << 10  # the session machine keeps 10 addresses, and four replies of 512 octets
    record.write(session, view(), 0, Counted())
    [line] = written
    assert len(line["transactions"]) == 2
    assert line["transactions_left_out"] == 47
    first = line["transactions"][0]
    assert [address[60:64] for address, _ in first.recipients] == ["0000", "0001", "0098", "0099"]
    assert {len(address) for address, _ in first.recipients} == {len(first.mail_from)} == {192}
    assert first.recipients_left_out == 96


def test_a_short_session_is_kept_whole(written, session):
    record = SessionLog()
    session.receive(b"MAIL FROM:<s@remote.tld>\r\n")
    rcpt(session, "a@x.test")
    rcpt(session, "b@x.test", refused=True)
    record.accepted(session, view(), message("q1", 10), Counted())
    session.receive(b"RSET\r\nMAIL FROM:<s@remote.tld>\r\n")
    rcpt(session, "c@x.test")
    record.write(session, view(), 0, Counted())
    [line] = written
    assert [(one.mail_from, one.recipients, one.queue_id, one.octets) for one in line["transactions"]] == [
        ("s@remote.tld", [("a@x.test", 250), ("b@x.test", 550)], "q1", 10),
        ("s@remote.tld", [("c@x.test", 250)], "", 0),
    ]
    assert (line["transactions_left_out"], line["octets"]) == (0, 10)
