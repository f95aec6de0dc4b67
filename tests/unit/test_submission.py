"""What new mail has to be: qualified domains, and the fields that are added."""

import pytest
from tests.doubles.policy import client, services, view

from mailmoat import settings
from mailmoat._native import Address
from mailmoat.policy.agents.submission import Submission, SubmissionRule
from mailmoat.policy.client import Client, Trust
from mailmoat.policy.verdict import PASS
from mailmoat.receive.submission import is_submission, missing_fields
from mailmoat.settings import Listener

SUBMISSION = Listener("192.0.2.25", 587, submission=True)


def agent():
    environment = {"LISTEN": "192.0.2.25:25,submission://192.0.2.25:587", "RELAY__LOCAL_DOMAINS": "corp"}
    loaded = settings.load(environment={f"MAILMOAT_{name}": value for name, value in environment.items()})
    assert Submission.is_on(loaded)
    return Submission(services(loaded))


@pytest.mark.parametrize(
    ("address", "qualified"),
    [
        ("a@example.test", True),
        ("a@[192.0.2.1]", True),
        ("a@[IPv6:2001:db8::1]", True),
        ("a@corp", True),
        ("a@localhost", False),
        ("a@mail", False),
        ("a", False),
    ],
)
def test_domains_are_fully_qualified(address, qualified):
    made, parsed = agent(), Address.parse(address)
    at = Client("192.0.2.1", SUBMISSION, Trust(authenticated=True))
    sender = made.on_mail(view(client=at, reverse_path=parsed))
    recipient = made.on_rcpt(view(client=at, recipient=parsed))
    if qualified:
        assert sender is recipient is PASS
    else:
        assert (sender.reply.code, sender.reply.enhanced, sender.rule) == (554, "5.1.8", SubmissionRule.UNQUALIFIED)
        assert (recipient.reply.code, recipient.reply.enhanced) == (554, "5.1.2")
    # RFC 6409 3.2, and other listeners hand on what servers send.
    assert made.on_mail(view(client=at, reverse_path=None)) is PASS
    assert made.on_mail(view(client=client(), reverse_path=parsed)) is PASS


def test_there_is_nothing_to_do_without_such_a_listener():
    assert not Submission.is_on(settings.load(environment={}))


@pytest.mark.parametrize(
    ("header", "added"),
    [
        (b"Subject: x\r\n\r\n", b"Date: now\r\nMessage-ID: <q1@mx.test>\r\n"),
        (b"\r\n", b"Date: now\r\nMessage-ID: <q1@mx.test>\r\n"),
        (b"dAtE: x\r\n\r\n", b"Message-ID: <q1@mx.test>\r\n"),
        (b"A: b\r\nMessage-Id \t: x\r\n\r\n", b"Date: now\r\n"),
        (b"A: b\r\n Date: x\r\n\tMessage-ID: y\r\n\r\n", b"Date: now\r\nMessage-ID: <q1@mx.test>\r\n"),
        (b"Resent-Date: x\r\nX-Message-ID: y\r\n\r\n", b"Date: now\r\nMessage-ID: <q1@mx.test>\r\n"),
        (b"Date:\r\nMessage-ID:\r\n\r\n", b""),
    ],
)
def test_what_is_missing_is_added(header, added):
    assert missing_fields(header, date="now", message_id="q1@mx.test") == added


def test_only_new_mail_of_an_account_is_changed():
    trusts = Trust(), Trust(authenticated=True)
    assert [is_submission(Client("192.0.2.1", SUBMISSION, trust)) for trust in trusts] == [False, True]
    other = Listener("192.0.2.25", 25)
    assert [is_submission(Client("192.0.2.1", other, trust)) for trust in trusts] == [False, False]
