"""Who is told about failed recipients: nobody when the sender is none, when reports are off, or when our own stamp calls him forged."""

from __future__ import annotations

import pytest

from mailmoat.mailauth.header import stamps
from mailmoat.mailauth.results import Result, Scope, Status
from mailmoat.mailauth.senderid.identities import Finding, Identity, IdentityKind
from mailmoat.reports.governor import Allowed, Suppressed, forged, judge, passed

RECEIVED = b"Received: from x ([192.0.2.1]) by mx.example.test\r\nFrom: user@remote.tld\r\n\r\n"


def stamp(identity, status, mailbox="user@remote.tld", place=None):
    places = {IdentityKind.PRA: "header.from", IdentityKind.MAIL_FROM: "smtp.mailfrom", IdentityKind.HELO: "smtp.helo"}
    identity = Identity(identity, Scope.MFROM, mailbox, mailbox.rpartition("@")[2], place or places[identity])
    return Finding(identity, Result(status, "Not Permitted"))


def stamped(*findings):
    return b"".join(stamps(findings, receiver="mx.example.test", source="192.0.2.1", helo_name="x")) + RECEIVED


def test_a_forged_sender_is_not_told():
    octets = stamped(stamp(IdentityKind.PRA, Status.PASS), stamp(IdentityKind.MAIL_FROM, Status.FAIL))
    assert judge("user@remote.tld", enabled=True, copy_to="post@example.test", octets=octets) is Suppressed.FORGED
    assert judge("user@remote.tld", enabled=False, copy_to=None, octets=octets) is Suppressed.DISABLED
    assert judge("", enabled=True, copy_to=None, octets=octets) is Suppressed.NULL_REVERSE_PATH
    assert judge("user@remote.tld", enabled=True, copy_to=None, octets=RECEIVED) == Allowed(("user@remote.tld",))


@pytest.mark.parametrize(
    ("sender", "told"),
    [
        ("victim%evil.example@ours.test", False),
        ('"victim@evil.example"@ours.test', False),
        ("a" * 300 + "@ours.test", False),
        ("user@ours.test", True),
        ("user+tag@ours.test", True),
        ("bounce/1@remote.tld", True),
    ],
)
def test_no_report_goes_where_the_next_hop_could_send_it_on(sender, told):
    verdict = judge(sender, enabled=True, copy_to=None, octets=RECEIVED, domains=("ours.test",))
    assert verdict == (Allowed((sender,)) if told else Suppressed.ROUTE)


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (stamped(stamp(IdentityKind.PRA, Status.FAIL, place="smtp.mailfrom")), True),
        (stamped(stamp(IdentityKind.PRA, Status.FAIL)), False),
        (stamped(stamp(IdentityKind.HELO, Status.FAIL)), False),
        (stamped(stamp(IdentityKind.MAIL_FROM, Status.SOFT_FAIL)), False),
        (stamped(stamp(IdentityKind.MAIL_FROM, Status.PASS, '"\t spf=fail smtp.mailfrom="@remote.tld')), False),
        (RECEIVED + stamped(stamp(IdentityKind.MAIL_FROM, Status.FAIL)), False),
        (b"", False),
    ],
)
def test_only_mail_from_in_our_own_stamp_on_top(octets, expected):
    assert forged(octets) is expected


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (stamped(stamp(IdentityKind.PRA, Status.FAIL), stamp(IdentityKind.MAIL_FROM, Status.PASS)), True),
        (stamped(stamp(IdentityKind.PRA, Status.PASS, place="smtp.mailfrom")), False),
        (stamped(stamp(IdentityKind.HELO, Status.PASS)), False),
        *((stamped(stamp(IdentityKind.MAIL_FROM, status)), False) for status in Status if status is not Status.PASS),
        (stamped(stamp(IdentityKind.MAIL_FROM, Status.NONE, '"\t spf=pass smtp.mailfrom="@remote.tld')), False),
        (RECEIVED + stamped(stamp(IdentityKind.MAIL_FROM, Status.PASS)), False),
        (RECEIVED, False),
    ],
)
def test_only_a_sender_whom_spf_passed_gets_the_message_back(octets, expected):
    assert passed(octets) is expected
    verdict = judge("user@remote.tld", enabled=True, copy_to=None, octets=octets)
    assert verdict is Suppressed.FORGED or verdict.whole is expected


def test_a_sender_whose_client_is_ours_gets_the_message_back():
    assert judge("user@remote.tld", enabled=True, copy_to=None, octets=RECEIVED, trusted=True).whole


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("copy_to", [None, "postmaster@example.test"])
def test_a_null_reverse_path_never_makes_a_report(enabled, copy_to):
    assert judge("", enabled=enabled, copy_to=copy_to) is Suppressed.NULL_REVERSE_PATH


def test_reports_can_be_switched_off():
    assert judge("a@example.org", enabled=False, copy_to="b@example.test") is Suppressed.DISABLED


def test_a_copy_goes_to_the_named_mailbox_once():
    assert judge("a@example.org", enabled=True, copy_to=None) == Allowed(("a@example.org",))
    assert judge("a@example.org", enabled=True, copy_to="b@example.test") == Allowed(
        ("a@example.org", "b@example.test")
    )
    assert judge("a@example.org", enabled=True, copy_to="A@Example.org") == Allowed(("a@example.org",))
