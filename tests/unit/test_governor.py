"""Who is told about failed recipients: nobody when the sender is none, when reports are off, or when a check found him forged."""

from __future__ import annotations

import pytest

from mailmoat.mailauth.results import AuthResult, Method, Status
from mailmoat.reports.governor import Allowed, Suppressed, forged, judge, vouched

SPF, SENDER_ID = Method.SPF, Method.SENDER_ID
MAIL_FROM, HELO, FROM = "smtp.mailfrom", "smtp.helo", "header.from"


def result(method, status, identity):
    return AuthResult(method, status, identity, "remote.tld", "Not Permitted")


def test_a_forged_sender_is_not_told():
    results = (result(SENDER_ID, Status.PASS, FROM), result(SPF, Status.FAIL, MAIL_FROM))
    assert judge("user@remote.tld", enabled=True, copies=("post@example.test",), results=results) is Suppressed.FORGED
    assert judge("user@remote.tld", enabled=False, results=results) is Suppressed.DISABLED
    assert judge("", enabled=True, results=results) is Suppressed.NULL_REVERSE_PATH
    assert judge("user@remote.tld", enabled=True) == Allowed(("user@remote.tld",))


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
    verdict = judge(sender, enabled=True, domains=("ours.test",))
    assert verdict == (Allowed((sender,)) if told else Suppressed.ROUTE)


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([result(SENDER_ID, Status.FAIL, MAIL_FROM)], True),
        ([result(SENDER_ID, Status.FAIL, FROM)], False),
        ([result(SPF, Status.FAIL, HELO)], False),
        ([result(SPF, Status.SOFT_FAIL, MAIL_FROM)], False),
        ([result(SPF, Status.PASS, MAIL_FROM), result(SPF, Status.FAIL, MAIL_FROM)], True),
        ([], False),
    ],
)
def test_only_a_failed_mail_from_is_forged(results, expected):
    assert forged(tuple(results)) is expected


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([result(SENDER_ID, Status.FAIL, FROM), result(SPF, Status.PASS, MAIL_FROM)], True),
        ([result(SENDER_ID, Status.PASS, MAIL_FROM)], False),
        ([result(SPF, Status.PASS, HELO)], False),
        *(([result(SPF, status, MAIL_FROM)], False) for status in Status if status is not Status.PASS),
        ([], False),
    ],
)
def test_only_a_sender_whom_spf_passed_gets_the_message_back(results, expected):
    assert vouched(tuple(results)) is expected
    verdict = judge("user@remote.tld", enabled=True, results=tuple(results))
    assert verdict is Suppressed.FORGED or verdict.whole is expected


def test_a_sender_whose_client_is_ours_gets_the_message_back():
    assert judge("user@remote.tld", enabled=True, trusted=True).whole


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("copies", [(), ("postmaster@example.test",)])
def test_a_null_reverse_path_never_makes_a_report(enabled, copies):
    assert judge("", enabled=enabled, copies=copies) is Suppressed.NULL_REVERSE_PATH


def test_reports_can_be_switched_off():
    assert judge("a@example.org", enabled=False, copies=("b@example.test",)) is Suppressed.DISABLED


def test_a_copy_goes_to_the_named_mailbox_once():
    assert judge("a@example.org", enabled=True) == Allowed(("a@example.org",))
    assert judge("a@example.org", enabled=True, copies=("b@example.test",)) == Allowed(
        ("a@example.org", "b@example.test")
    )
    assert judge("a@example.org", enabled=True, copies=("A@Example.org",)) == Allowed(("a@example.org",))
    twice = ("b@example.test", "c@example.test", "B@example.test")
    assert len(judge("a@example.org", enabled=True, copies=twice).recipients) == 3


def test_who_has_authenticated_is_vouched_for():
    """Its bounce has the whole message: the address is the account's, or that of somebody it speaks for."""
    results = (AuthResult(Method.AUTH, Status.PASS, "smtp.auth", ""),)
    assert vouched(results)
    assert not forged(results)
    assert judge("user@remote.tld", enabled=True, results=results).whole
