"""The Sender ID agent asked directly: who is judged, by which address, in whose name, and what follows for whom."""

from __future__ import annotations

import asyncio
import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.doubles.policy import Counted, services, view
from tests.doubles.timers import StillTimers

from mailmoat import maillog, settings
from mailmoat._native import Address, Stage
from mailmoat.mailauth.results import AuthResult, Method, Result, Status
from mailmoat.mailauth.senderid.counted import SENDERID_ACTIONS, SENDERID_RESULTS, SENDERID_UNCHECKED
from mailmoat.policy.agents.sender_id import SenderId, SenderRule
from mailmoat.policy.agents.submitter import Submitter, SubmitterRule
from mailmoat.policy.pipeline import Pipeline
from mailmoat.policy.registry import agents
from mailmoat.policy.verdict import PASS, Discard, Pass, Reject, Reply, Tempfail

FROM = b"From: User <user@remote.tld>\r\nSubject: x\r\n"
FAIL = Result(Status.FAIL, "Not Permitted", domain="remote.tld", mechanism="-all")
TEMP = Result(Status.TEMP_ERROR, "Temporary DNS Error")
GOOD = Result(Status.PASS, "Permitted")
NONE = Result(Status.NONE, "No Record")
NOT_PERMITTED = Reply(550, "5.7.1", "Sender ID (PRA) Not Permitted")


class Checker:
    """Answers by domain, at once or later; `None` by default."""

    def __init__(self, later=False, **results):
        self.results = {name.replace("_", "."): result for name, result in results.items()}
        self.later = later
        self.asked = []

    def check(self, question, budget, trace=None):
        self.asked.append(question)
        result = self.results.get(question.mailbox.rpartition("@")[2], NONE)
        return self.answer(result) if self.later else result

    async def answer(self, result):
        await asyncio.sleep(0)
        return result


class Bench:
    """An agent with its settings, what it asked, counted and logged."""

    def __init__(self, checker, monkeypatch, **environment):
        environment = {
            f"MAILMOAT_SENDERID__{name}": value for name, value in environment.items() if "__" not in name
        } | {f"MAILMOAT_{name}": value for name, value in environment.items() if "__" in name}
        tree = settings.load(environment={"MAILMOAT_HOSTNAME": "mx.example.test"} | environment)
        self.settings = tree
        self.checker = checker
        given = services(tree, checker=checker)
        self.counted = given.metrics.counted
        self.lines = []
        monkeypatch.setattr(maillog._stream, "write", lambda name, level, fields: self.lines.append((name, fields)))
        self.agent = SenderId(given)
        self.submitter = Submitter(given)

    def judge(self, head=FROM, **session):
        return now(self.agent.on_end_of_headers(a_session(head, settings=self.settings, **session)))

    def at_mail(self, submitter, **session):
        return now(self.submitter.on_mail(a_session(b"", submitter=submitter, settings=self.settings, **session)))

    def matched(self, submitter, head=FROM, **session):
        return self.submitter.on_end_of_headers(a_session(head, submitter=submitter, settings=self.settings, **session))

    def asked(self):
        return [(question.scope.value, question.mailbox) for question in self.checker.asked]

    def logged(self, name):
        return [fields for found, fields in self.lines if found == name]


def now(verdict):
    return asyncio.run(awaited(verdict)) if inspect.isawaitable(verdict) else verdict


async def awaited(verdict):
    return await verdict


def a_session(head, sender="bounce@lists.tld", recipients=("alice@example.test",), submitter=None, **other):
    names = {
        "helo_name": "client.remote.tld",
        "reverse_path": Address.parse(sender) if sender else None,
        "recipients": tuple(Address.parse(recipient) for recipient in recipients),
        "submitter": Address.parse(submitter) if submitter else None,
        "header": head,
    }
    return view(**names | other)


@pytest.fixture
def bench(monkeypatch):
    def make(checker=None, **environment):
        return Bench(checker or Checker(), monkeypatch, **environment)

    return make


def stamped(verdict):
    assert isinstance(verdict, Pass)
    return b"".join(verdict.stamps).decode()


# --- who is asked about ---


def test_three_identities_and_the_header_first(bench):
    judged = bench(Checker(remote_tld=GOOD))
    verdict = judged.judge()
    assert judged.asked() == [
        ("pra", "user@remote.tld"),
        ("mfrom", "bounce@lists.tld"),
        ("mfrom", "postmaster@client.remote.tld"),
    ]
    question = judged.checker.asked[0]
    assert (question.ip, question.helo_name, question.receiver) == ("192.0.2.1", "client.remote.tld", "mx.example.test")
    text = stamped(verdict)
    assert "sender-id=pass header.from=user@remote.tld" in text
    assert 'spf=none reason="No Record" smtp.mailfrom=bounce@lists.tld' in text
    assert verdict.dropped == ()
    assert [line["checks"][0].status for line in judged.logged("sender-checked")] == ["Pass"]
    assert judged.counted == [
        SENDERID_RESULTS["pra", "Pass"],
        SENDERID_RESULTS["mailfrom", "None"],
        SENDERID_RESULTS["helo", "None"],
    ]


def test_the_null_path_is_answered_for_by_helo_alone(bench):
    judged = bench()
    judged.judge(sender="")
    assert judged.asked() == [("pra", "user@remote.tld"), ("mfrom", "postmaster@client.remote.tld")]


@pytest.mark.parametrize("hello", ["localhost", "[192.0.2.1]", "[IPv6:::1]", "192.0.2.1", "", "a..b"])
def test_a_helo_that_names_no_domain_is_not_asked_about(bench, hello):
    judged = bench()
    text = stamped(judged.judge(helo_name=hello))
    assert judged.asked() == [("pra", "user@remote.tld"), ("mfrom", "bounce@lists.tld")]
    assert ("smtp.helo=" in text) == ("identity=helo" in text) == bool(hello)


@pytest.mark.parametrize(
    ("hello", "shown"), [("localhost", "localhost"), ("[192.0.2.1]", '"[192.0.2.1]"'), ("a b;", '"a b;"')]
)
def test_that_helo_or_mail_from_could_not_be_checked_is_a_result(bench, hello, shown):
    """RFC 8601 2.7.2 by RFC 7208 2.6.1: no valid domain could be had from the session."""
    judged = bench()
    text = stamped(judged.judge(helo_name=hello, sender="user@[192.0.2.1]"))
    assert f'\tspf=none reason="Malformed Domain" smtp.helo={shown}\r\n' in text
    assert '\tspf=none reason="Malformed Domain" smtp.mailfrom="user@[192.0.2.1]";\r\n' in text
    assert [line for line in text.split("\r\n") if line.startswith("Received-SPF: none") and "no domain" in line] == [
        "Received-SPF: none (mx.example.test: [192.0.2.1] is no domain that could be asked)",
        f"Received-SPF: none (mx.example.test: {hello} is no domain that could be asked)",
    ]
    assert judged.asked() == [("pra", "user@remote.tld")]


def test_helo_is_asked_about_as_domains_are_compared(bench):
    judged = bench()
    judged.judge(helo_name="Client.REMOTE.tld.")
    assert judged.asked()[-1] == ("mfrom", "postmaster@client.remote.tld")


@pytest.mark.parametrize(
    ("sender", "hello", "asked", "place"),
    [
        ("bounce@lists.tld", "client.remote.tld", ("pra", "bounce@lists.tld"), "smtp.mailfrom=bounce@lists.tld"),
        ("", "client.remote.tld", ("mfrom", "postmaster@client.remote.tld"), "smtp.helo=client.remote.tld"),
    ],
)
def test_without_a_field_the_envelope_stands_in(bench, sender, hello, asked, place):
    judged = bench(Checker(lists_tld=GOOD, client_remote_tld=GOOD))
    text = stamped(judged.judge(b"Subject: x\r\n", sender=sender, helo_name=hello))
    assert judged.asked()[0] == asked
    assert f"sender-id=pass {place}" in text


def test_nobody_at_all_is_none_and_nobody_is_asked(bench):
    judged = bench()
    text = stamped(judged.judge(b"Subject: x\r\n", sender="", helo_name="localhost"))
    assert judged.asked() == []
    assert 'sender-id=none reason="Malformed Domain"' in text


@pytest.mark.parametrize(
    "head",
    [
        b"From: a@remote.tld\r\nFrom: b@remote.tld\r\n",
        b"From: a@remote.tld, b@remote.tld\r\n",
        b"From: nobody\r\n",
        b"Sender: a@remote.tld\r\nSender: b@remote.tld\r\nFrom: a@remote.tld\r\n",
    ],
)
def test_fields_without_a_responsible_address_are_a_fail(bench, head):
    judged = bench()
    text = stamped(judged.judge(head))
    assert 'sender-id=fail reason="No PRA"\r\n' in text.replace(";\r\n", "\r\n")
    assert ("pra", "a@remote.tld") not in judged.asked()
    assert judged.counted[0] == SENDERID_RESULTS["pra", "Fail"]
    refused = bench(SPOOFED_DOMAIN_ACTION="Reject").judge(head)
    assert refused == Reject(
        Reply(550, "5.7.1", "Missing Purported Responsible Address"), SenderRule.SENDER_ID_FAIL, "No PRA"
    )


@pytest.mark.parametrize("domain", ["localhost", "[192.0.2.1]", "10.10.10.10"])
def test_what_is_no_domain_is_not_asked_about(bench, domain):
    judged = bench()
    text = stamped(judged.judge(f"From: user@{domain}\r\n".encode()))
    assert [scope for scope, _ in judged.asked()] == ["mfrom", "mfrom"]
    assert "sender-id=none" in text


# --- where it comes from ---


def test_our_own_people_are_not_judged(bench):
    judged = bench(RELAY__NETWORKS="10.0.0.0/8", INTERNAL_SERVERS="203.0.113.0/24")
    assert judged.judge(peer="10.1.2.3") is PASS
    through = b"Received: from pc ([10.1.2.3]) by hub\r\n" + FROM
    assert judged.judge(through, peer="203.0.113.1") is PASS
    assert judged.asked() == []


def test_behind_our_own_servers(bench):
    judged = bench(INTERNAL_SERVERS="203.0.113.0/24, 127.0.0.1")
    head = (
        b"Received: from hub.example.test (hub.example.test [203.0.113.2]) by filter\r\n"
        b"Received: from localhost ([127.0.0.1])\r\n\tby hub\r\n"
        b"Received: from client.remote.tld ([198.51.100.7]) by hub\r\n"
        b"Received: from forged ([192.0.2.99]) by anybody\r\n"
    )
    judged.judge(head + FROM, peer="203.0.113.1")
    assert {question.ip for question in judged.checker.asked} == {"198.51.100.7"}
    assert {question.helo_name for question in judged.checker.asked} == {"unknown"}
    assert judged.asked() == [("pra", "user@remote.tld"), ("mfrom", "bounce@lists.tld")], "HELO was our own server's"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"Received: from hub ([203.0.113.2]) by filter\r\n",
        b"Received: by hub with local\r\nReceived: from forged ([192.0.2.99]) by anybody\r\n",
    ],
)
def test_without_a_source_there_is_no_status(bench, head):
    judged = bench(INTERNAL_SERVERS="203.0.113.0/24", SPOOFED_DOMAIN_ACTION="Reject", EXCHANGE_HEADERS="on")
    verdict = judged.judge(head + b"From: a@remote.tld, b@remote.tld\r\n", peer="203.0.113.1")
    assert verdict == Pass((b"Authentication-Results: mx.example.test; none\r\n",))
    assert judged.asked() == []
    assert judged.logged("sender-unchecked") == [
        {"session": "t-1", "client": "203.0.113.1", "reason": "no-source-address"}
    ]
    assert judged.counted == [SENDERID_UNCHECKED]


def test_a_peer_that_is_gone_has_no_source(bench):
    assert bench().judge(peer="") == Pass((b"Authentication-Results: mx.example.test; none\r\n",))


# --- bypasses ---


def test_bypassed_domains_are_not_asked_about(bench):
    judged = bench(BYPASSED_SENDER_DOMAINS="remote.tld, LISTS.tld", SPOOFED_DOMAIN_ACTION="Reject")
    text = stamped(judged.judge(helo_name="mail.LISTS.tld."))
    assert judged.asked() == [("mfrom", "postmaster@mail.lists.tld")]
    assert text.startswith(
        'Authentication-Results: mx.example.test;\r\n\tspf=none reason="No Record" smtp.helo=mail.lists.tld\r\n'
    )
    assert stamped(judged.judge(helo_name="lists.tld")) == "Authentication-Results: mx.example.test; none\r\n"


# --- sources that say nothing ---


@pytest.mark.parametrize(
    "peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "169.254.3.4", "fe80::1", "fe80::1%eth0"]
)
def test_loopback_and_link_local_sources_are_not_judged(bench, peer):
    judged = bench(Checker(remote_tld=FAIL), SPOOFED_DOMAIN_ACTION="Reject", SPF_MFROM_ACTION="Reject")
    assert stamped(judged.judge(peer=peer)) == "Authentication-Results: mx.example.test; none\r\n"
    assert [line["reason"] for line in judged.logged("sender-unchecked")] == ["local-source-address"]
    assert (judged.asked(), judged.counted) == ([], [SENDERID_UNCHECKED])


def test_a_local_source_behind_our_own_server_is_not_judged(bench):
    judged = bench(INTERNAL_SERVERS="203.0.113.1", SPOOFED_DOMAIN_ACTION="Reject")
    received = b"Received: from x ([127.0.0.1]) by hub\r\n"
    assert stamped(judged.judge(received + FROM, peer="203.0.113.1")).endswith("; none\r\n")
    assert judged.asked() == []


@pytest.mark.parametrize("peer", ["10.0.0.1", "172.16.0.1", "172.31.9.9", "192.168.1.1", "100.64.0.1", "fd00::1"])
def test_private_sources_are_judged_by_setting(bench, peer):
    refusing = {"SPOOFED_DOMAIN_ACTION": "Reject"}
    assert isinstance(bench(Checker(remote_tld=FAIL), **refusing).judge(peer=peer), Reject)
    skipping = bench(Checker(remote_tld=FAIL), PRIVATE_NETWORKS="skip", **refusing)
    assert stamped(skipping.judge(peer=peer)) == "Authentication-Results: mx.example.test; none\r\n"
    assert [line["reason"] for line in skipping.logged("sender-unchecked")] == ["private-source-address"]
    for outside in ("172.32.0.1", "192.0.2.1", "100.128.0.1", "2001:db8::1"):
        assert isinstance(skipping.judge(peer=outside), Reject)


def test_a_field_that_breaks_the_grammar_is_read_leniently_and_says_so(bench):
    judged = bench(Checker(remote_tld=FAIL), SPOOFED_DOMAIN_ACTION="Reject")
    head = b"From: [JIRA] Ann: Sales <ann@remote.tld>\r\n"
    assert judged.judge(head) == Reject(NOT_PERMITTED, SenderRule.SENDER_ID_FAIL, "Not Permitted")
    text = stamped(bench(Checker(remote_tld=GOOD)).judge(head))
    assert "\tsender-id=pass (the field breaks the grammar of RFC 5322) header.from=ann@remote.tld;\r\n" in text
    [line] = judged.logged("sender-checked")
    assert [check.lenient for check in line["checks"]] == [True, False, False]
    assert bench(SPOOFED_DOMAIN_ACTION="Reject").judge(b"From: a@b.tld <c@d.tld>\r\n").reply == Reply(
        550, "5.7.1", "Missing Purported Responsible Address"
    )


def test_a_subdomain_is_another_domain(bench):
    judged = bench(Checker(sub_remote_tld=FAIL), BYPASSED_SENDER_DOMAINS="remote.tld", SPOOFED_DOMAIN_ACTION="Reject")
    assert isinstance(judged.judge(b"From: user@sub.remote.tld\r\n"), Reject)


@pytest.mark.parametrize("action", ["Reject", "Delete"])
def test_bypassed_recipients_get_it_and_the_others_are_taken_out(bench, action):
    judged = bench(
        Checker(remote_tld=FAIL),
        SPOOFED_DOMAIN_ACTION=action,
        BYPASSED_RECIPIENTS="Alice@example.test, x@example.test",
    )
    verdict = judged.judge(recipients=("bob@example.test", "ALICE@example.test", "carol@example.test"))
    assert [str(recipient) for recipient in verdict.dropped] == ["bob@example.test", "carol@example.test"]
    assert "sender-id=fail" in stamped(verdict)
    assert judged.logged("message-dropped") == [
        {
            "session": "t-1",
            "mail_from": "bounce@lists.tld",
            "recipients": ["bob@example.test", "carol@example.test"],
            "reason": "sender-id-fail",
            "detail": "Not Permitted",
        }
    ]
    assert judged.counted[-1] == SENDERID_ACTIONS["partly-dropped"]


def test_a_message_for_bypassed_recipients_is_stamped_and_no_more(bench):
    judged = bench(Checker(remote_tld=FAIL), SPOOFED_DOMAIN_ACTION="Reject", BYPASSED_RECIPIENTS="alice@example.test")
    verdict = judged.judge()
    assert verdict.dropped == ()
    assert "sender-id=fail" in stamped(verdict)
    assert judged.logged("message-dropped") == []


def test_a_temperror_with_bypassed_recipients_loses_nothing(bench):
    judged = bench(Checker(remote_tld=TEMP), TEMP_ERROR_ACTION="Reject", BYPASSED_RECIPIENTS="alice@example.test")
    verdict = judged.judge(recipients=("alice@example.test", "bob@example.test"))
    assert verdict.dropped == ()
    assert "sender-id=temperror" in stamped(verdict)


def test_every_dropped_recipient_is_logged(bench):
    judged = bench(Checker(remote_tld=FAIL), SPOOFED_DOMAIN_ACTION="Delete")
    many = tuple(f"r{number}@example.test" for number in range(250))
    assert isinstance(judged.judge(recipients=many), Discard)
    assert [name for line in judged.logged("message-dropped") for name in line["recipients"]] == list(many)


# --- what follows ---

ACTS = {Status.FAIL: "SPOOFED_DOMAIN_ACTION", Status.TEMP_ERROR: "TEMP_ERROR_ACTION"}


@pytest.mark.parametrize("action", ["StampStatus", "Reject", "Delete"])
@pytest.mark.parametrize("status", Status)
def test_only_fail_and_temperror_can_do_more_than_stamp(bench, status, action):
    wanted = {"SPOOFED_DOMAIN_ACTION": action, "TEMP_ERROR_ACTION": "Reject" if action == "Reject" else "StampStatus"}
    verdict = bench(Checker(remote_tld=Result(status, "Not Permitted")), **wanted).judge()
    if (status, action) == (Status.FAIL, "Reject"):
        assert verdict == Reject(NOT_PERMITTED, SenderRule.SENDER_ID_FAIL, "Not Permitted")
    elif (status, action) == (Status.FAIL, "Delete"):
        assert verdict == Discard(SenderRule.SENDER_ID_FAIL, "Not Permitted")
    elif (status, action) == (Status.TEMP_ERROR, "Reject"):
        reply = Reply(451, "4.4.3", "Sender ID check is temporarily unavailable")
        assert verdict == Tempfail(reply, SenderRule.SENDER_ID_TEMP_ERROR, "Not Permitted")
    else:
        assert f"sender-id={status.result}" in stamped(verdict)


@pytest.mark.parametrize(
    ("action", "temp", "mailfrom", "helo", "expected"),
    [
        ("StampStatus", "Reject", FAIL, FAIL, None),
        ("StampStatus", "Reject", TEMP, TEMP, None),
        ("Reject", "StampStatus", TEMP, GOOD, None),
        ("Reject", "StampStatus", FAIL, GOOD, Reply(550, "5.7.23", "SPF (MAIL FROM) Not Permitted")),
        ("Reject", "StampStatus", GOOD, FAIL, Reply(550, "5.7.23", "SPF (HELO) Not Permitted")),
        ("Reject", "Reject", TEMP, GOOD, Reply(451, "4.4.3", "SPF check is temporarily unavailable")),
        ("Reject", "Reject", TEMP, FAIL, Reply(550, "5.7.23", "SPF (HELO) Not Permitted")),
        ("Delete", "StampStatus", FAIL, GOOD, SenderRule.SPF_MAIL_FROM_FAIL),
    ],
)
def test_plain_spf(bench, action, temp, mailfrom, helo, expected):
    checker = Checker(remote_tld=GOOD, lists_tld=mailfrom, client_remote_tld=helo)
    verdict = bench(checker, SPF_MFROM_ACTION=action, TEMP_ERROR_ACTION=temp).judge()
    if expected is None:
        assert verdict.dropped == ()
    elif isinstance(expected, str):
        assert verdict == Discard(expected, "Not Permitted")
    else:
        assert verdict.reply == expected


def test_an_explanation_is_shown_as_the_other_domains(bench):
    result = Result(Status.FAIL, "Not Permitted", "See http://remote.tld/why", "remote.tld", "-all")
    reply = bench(Checker(remote_tld=result), SPOOFED_DOMAIN_ACTION="Reject").judge().reply
    assert str(reply) == (
        "550 5.7.1 Sender ID (PRA) Not Permitted - the domain remote.tld explains: See http://remote.tld/why"
    )


@pytest.mark.parametrize("results", [{"remote_tld": FAIL}, {"remote_tld": TEMP, "lists_tld": GOOD}])
def test_later_is_as_at_once(bench, results):
    wanted = {"SPOOFED_DOMAIN_ACTION": "Reject", "TEMP_ERROR_ACTION": "Reject", "EXCHANGE_HEADERS": "on"}
    assert bench(Checker(later=True, **results), **wanted).judge() == bench(Checker(**results), **wanted).judge()


def test_exchange_headers_only_when_wanted(bench):
    assert "X-MS-Exchange" not in stamped(bench().judge())
    text = stamped(bench(EXCHANGE_HEADERS="on").judge())
    assert text.endswith(
        "X-MS-Exchange-Organization-SenderIdResult: None\r\nX-MS-Exchange-Organization-PRD: remote.tld\r\n"
    )


# --- SUBMITTER (RFC 4405 4.2) ---

NOT_ALLOWED = Reply(550, "5.7.1", "Submitter not allowed.")


def test_submitter_is_the_responsible_address(bench):
    judged = bench()
    assert judged.matched("user@remote.tld") is PASS
    assert judged.matched("USER@Remote.TLD") is PASS
    refused = Reject(Reply(550, "5.7.1", "Submitter does not match header."), SubmitterRule.DIFFERS)
    assert judged.matched("other@remote.tld") == refused
    assert judged.matched("user@remote.tld", b"Sender: a@b.tld\r\n" + FROM) == refused
    unknown = Reply(554, "5.7.7", "Cannot verify submitter address.")
    for head in (b"Subject: x\r\n", b"From: a@remote.tld, b@remote.tld\r\n", b"\r\n" + FROM):
        assert judged.matched("a@remote.tld", head).reply == unknown


def test_submitter_is_held_to_its_word_inside_too(bench):
    judged = bench(RELAY__NETWORKS="10.0.0.0/8")
    assert isinstance(judged.matched("other@remote.tld", peer="10.0.0.1"), Reject)
    assert judged.asked() == []


@pytest.mark.parametrize("later", [False, True])
def test_a_submitter_that_is_not_permitted_is_refused_at_mail(bench, later):
    judged = bench(Checker(later=later, remote_tld=FAIL), SPOOFED_DOMAIN_ACTION="Reject")
    assert judged.at_mail("user@remote.tld") == Reject(NOT_ALLOWED, SubmitterRule.NOT_ALLOWED, "Not Permitted")
    assert judged.asked() == [("pra", "user@remote.tld")]
    assert judged.counted == [SENDERID_RESULTS["pra", "Fail"], SENDERID_ACTIONS["refused"]]
    [line] = judged.logged("sender-checked")
    assert (line["source"], line["reason"]) == ("192.0.2.1", "submitter-fail")
    assert judged.at_mail("user@other.tld") is PASS


@pytest.mark.parametrize(
    ("environment", "session"),
    [
        ({"SPOOFED_DOMAIN_ACTION": "StampStatus"}, {}),
        ({"SPOOFED_DOMAIN_ACTION": "Delete"}, {}),
        ({"BYPASSED_RECIPIENTS": "alice@example.test"}, {}),
        ({"BYPASSED_SENDER_DOMAINS": "remote.tld"}, {}),
        ({"RELAY__NETWORKS": "192.0.2.0/24"}, {}),
        ({"INTERNAL_SERVERS": "192.0.2.0/24"}, {}),
        ({}, {"peer": "127.0.0.1"}),
        ({}, {"submitter": "user@[192.0.2.1]"}),
        ({}, {"submitter": None}),
    ],
)
def test_a_submitter_is_not_judged_at_mail(bench, environment, session):
    judged = bench(Checker(remote_tld=FAIL), **{"SPOOFED_DOMAIN_ACTION": "Reject"} | environment)
    assert judged.at_mail(**{"submitter": "user@remote.tld"} | session) is PASS
    assert judged.asked() == []


@pytest.mark.parametrize("result", [TEMP, GOOD, NONE, Result(Status.PERM_ERROR, "Invalid Record")])
def test_only_a_fail_of_the_submitter_refuses_at_mail(bench, result):
    judged = bench(Checker(remote_tld=result), SPOOFED_DOMAIN_ACTION="Reject", TEMP_ERROR_ACTION="Reject")
    assert judged.at_mail("user@remote.tld") is PASS
    assert (judged.counted, judged.lines) == ([], [])


def test_a_fail_found_with_the_message_says_the_same_to_who_gave_a_submitter(bench):
    judged = bench(Checker(remote_tld=FAIL), SPOOFED_DOMAIN_ACTION="Reject", BYPASSED_RECIPIENTS="bob@example.test")
    assert judged.judge(submitter="user@remote.tld").reply == NOT_ALLOWED
    assert judged.judge().reply == NOT_PERMITTED


# --- whatever comes ---

TERMS = [
    "From:", "Sender:", "Resent-From:", "Resent-Sender:", "Received:", "Return-Path:", " from x ([203.0.113.9])", "a@b.tld", '"', "<", ">",
    ",", "(", ")", "\\", ";", ":", "\r\n", "\r\n ", "\n", "\0", "ü", "[", "]", "@", ".", " ",
]  # fmt: skip


@given(
    head=st.one_of(st.binary(max_size=300), st.lists(st.sampled_from(TERMS), max_size=40).map("".join).map(str.encode)),
    hello=st.text(max_size=30),
    peer=st.sampled_from(["192.0.2.1", "203.0.113.1", "::1", ""]),
    status=st.sampled_from(Status),
)
def test_no_header_breaks_it(head, hello, peer, status):
    tree = settings.load(
        environment={"MAILMOAT_SENDERID__ENABLED": "on", "MAILMOAT_SENDERID__INTERNAL_SERVERS": "203.0.113.0/24"}
    )
    checker = Checker()
    checker.check = lambda question, budget, trace=None: Result(status, "Reason")
    agent = SenderId(services(tree, checker=checker))
    verdict = agent.on_end_of_headers(a_session(head, helo_name=hello, peer=peer, settings=tree))
    for stamp in verdict.stamps:
        assert stamp.isascii()
        assert re.fullmatch(rb"[A-Z][A-Za-z-]+: [ -~]+(?:\r\n\t[ -~]+)*\r\n", stamp)


# --- among the agents ---


NOTHING_ELSE = {
    "PRESSURE__DISK": "off",
    "PRESSURE__MEMORY": "off",
    "PRESSURE__LAG": "off",
    "LIMITS__MESSAGE_RATE": "off",
}
"""What would ask at MAIL as well."""


def pipeline_of(**environment):
    wanted = {f"SENDERID__{name}": value for name, value in environment.items()} | NOTHING_ELSE
    tree = settings.load(environment={f"MAILMOAT_{name}": value for name, value in wanted.items()})
    listed = agents(services(tree, checker=Checker()))
    return [agent.name for agent in listed], Pipeline(listed, StillTimers(), Counted(), 30)


def test_off_it_is_not_there_at_all():
    names, pipeline = pipeline_of(SUBMITTER="on")
    assert names[-2:] == ["relay", "recipient_filter"]
    assert pipeline.asked == 1 << Stage.RCPT


def test_on_it_comes_last():
    names, pipeline = pipeline_of(ENABLED="on")
    assert names[-3:] == ["relay", "recipient_filter", "sender_id"]
    assert pipeline.listens(Stage.END_OF_HEADERS)
    assert not pipeline.listens(Stage.MAIL), "no crossing for a parameter that is not offered"
    assert isinstance(pipeline.run(Stage.END_OF_HEADERS, a_session(FROM)), Pass)


def test_submitter_is_asked_about_before_the_message():
    names, pipeline = pipeline_of(ENABLED="on", SUBMITTER="on")
    assert names[-2:] == ["submitter", "sender_id"]
    assert pipeline.listens(Stage.MAIL)


# --- results for the envelope ---


def test_results_are_values_beside_the_stamps(bench):
    verdict = bench(Checker(remote_tld=FAIL, lists_tld=GOOD)).judge()
    assert verdict.results == (
        AuthResult(Method.SENDER_ID, Status.FAIL, "header.from", "remote.tld", "Not Permitted"),
        AuthResult(Method.SPF, Status.PASS, "smtp.mailfrom", "lists.tld", "Permitted"),
        AuthResult(Method.SPF, Status.NONE, "smtp.helo", "client.remote.tld", "No Record"),
    )
    thinned = bench(
        Checker(remote_tld=FAIL), SPOOFED_DOMAIN_ACTION="Reject", BYPASSED_RECIPIENTS="alice@example.test"
    ).judge(recipients=("alice@example.test", "bob@example.test"))
    assert thinned.results[0].status is Status.FAIL
    assert bench(INTERNAL_SERVERS="203.0.113.1").judge(b"", peer="203.0.113.1").results == ()
