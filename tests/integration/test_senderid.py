"""Sender ID and SPF by a whole server that asks a real name server: what the client is told, what is stamped, what is delivered.

Every client comes from 198.51.100.4, so what a domain says of that address is the status. `questions` at the name server prove what
was asked; what must not be asked is not there.
"""

from __future__ import annotations

import json
import time
from email import message_from_bytes
from email.policy import SMTP

import pytest
from tests.doubles.name_server import NameServer
from tests.integration.conftest import free_port

OUTSIDE = "198.51.100.4"

ZONE = """
    pass.test        TXT "v=spf1 ip4:198.51.100.4 -all"
    fail.test        TXT "v=spf1 -all exp=why.fail.test"
    why.fail.test    TXT "Ask %{o} (%{i})"
    plainfail.test   TXT "v=spf1 -all"
    softfail.test    TXT "v=spf1 ~all"
    neutral.test     TXT "v=spf1 ?all"
    none.test        A   192.0.2.1
    permerror.test   TXT "v=spf1 wombat -all"
    behind.test      TXT "v=spf1 ip4:192.0.2.7 -all"
    scoped.test      TXT "spf2.0/pra -all"
    scoped.test      TXT "v=spf1 ip4:198.51.100.4 -all"
    client.none.test A   198.51.100.4
    loop.test        CNAME loop2.test
    loop2.test       CNAME loop.test
    deep.test        TXT "v=spf1 include:i1.test -all"
""" + "".join(f'i{number}.test TXT "v=spf1 include:i{number + 1}.test -all"\n' for number in range(1, 12))

STATUSES = {
    "pass": "Pass",
    "fail": "Fail",
    "softfail": "SoftFail",
    "neutral": "Neutral",
    "none": "None",
    "temperror": "TempError",
    "permerror": "PermError",
    "missing": "Fail",
}
TAKEN = "250 2.6.0"
EXPLAINED = "550 5.7.1 Sender ID (PRA) Not Permitted - the domain fail.test explains: Ask fail.test (198.51.100.4)"
MISSING = "550 5.7.1 Sender ID (PRA) Domain Does Not Exist"
LATER = "451 4.4.3 Sender ID check is temporarily unavailable"

# action of Fail, action of TempError -> replies to the end of data that are no 250, and those that are and deliver nothing
TABLE = [
    ("StampStatus", "StampStatus", {}, ()),
    ("Reject", "StampStatus", {"fail": EXPLAINED, "missing": MISSING}, ()),
    ("Reject", "Reject", {"fail": EXPLAINED, "missing": MISSING, "temperror": LATER}, ()),
    ("Delete", "StampStatus", {}, ("fail", "missing")),
    ("Delete", "Reject", {"temperror": LATER}, ("fail", "missing")),
]


@pytest.fixture
def names():
    with NameServer(ZONE) as running:
        running.add("big.test", "TXT", b"v=spf1 " + b"x" * 64_000)
        running.set("temperror.test", fault="servfail")
        yield running


@pytest.fixture
def checking(server, names):
    """Makes servers that check, and ask `names`."""

    def make(toml="", **environment):
        environment = {
            "MAILMOAT_WORKERS": "1",
            "MAILMOAT_SENDERID__ENABLED": "true",
            "MAILMOAT_DNS__SERVERS": names.address,
            **{f"MAILMOAT_{name}": value for name, value in environment.items()},
        }
        mx = server(toml, start=False, **environment)
        mx.proxied = free_port()
        mx.environment["MAILMOAT_LISTEN"] = f"127.0.0.1:{mx.port},proxy://127.0.0.1:{mx.proxied}"
        mx.environment["MAILMOAT_LISTEN_PROXY_NETWORKS"] = "127.0.0.0/8"
        return mx.start()

    return make


def outside(mx, hello):
    """A client that comes from outside."""
    return mx.client(hello, port=mx.proxied, source=OUTSIDE)


def send(client, head, *, sender="", recipients=("alice@example.test",), body="x", parameters=""):
    """One transaction; the reply to its end of data. The head is given in lines."""
    assert client.ask(f"MAIL FROM:<{sender}>{parameters}")[:3] == "250"
    for recipient in recipients:
        assert client.ask(f"RCPT TO:<{recipient}>")[:3] == "250"
    assert client.ask("DATA")[:3] == "354"
    return client.ask("\r\n".join((*head, "", body, ".")))


def delivered(mx, count):
    """The messages in the Maildir, parsed, by subject."""
    mx.until(lambda: len(mx.delivered()) >= count, what=f"{count} messages")
    parsed = [message_from_bytes(path.read_bytes(), policy=SMTP) for path in mx.delivered()]
    assert len(parsed) == count
    return {str(message["Subject"]): message for message in parsed}


def status_of(message):
    return message["X-MS-Exchange-Organization-SenderIdResult"]


@pytest.mark.parametrize(("fail", "temp", "refused", "dropped"), TABLE)
def test_each_status_and_action(checking, names, fail, temp, refused, dropped):
    mx = checking(
        SENDERID__SPOOFED_DOMAIN_ACTION=fail, SENDERID__TEMP_ERROR_ACTION=temp, SENDERID__EXCHANGE_HEADERS="true"
    )
    client = outside(mx, "EHLO client")
    for word in STATUSES:
        reply = send(client, [f"From: User <user@{word}.test>", f"Subject: {word}"])
        expected = refused.get(word, TAKEN)
        assert reply == expected if word in refused else reply.startswith(expected), word
    arrive = [word for word in STATUSES if word not in refused and word not in dropped]
    found = delivered(mx, len(arrive))
    for word in arrive:
        message, status = found[word], STATUSES[word]
        assert status_of(message) == status
        assert message["X-MS-Exchange-Organization-PRD"] == f"{word}.test"
        assert f"sender-id={status.lower()}" in message["Authentication-Results"]
        assert f"header.from=user@{word}.test" in message["Authentication-Results"]
        assert message.get_all("Received-SPF")[-1].startswith(f"{status.lower()} (mx.example.test: ")
    assert names.questions.count(("pass.test", "TXT")) == 1
    for word, status in STATUSES.items():
        assert mx.metric(f'senderid_results_total{{identity="pra",status="{status}"}}') == list(
            STATUSES.values()
        ).count(status), word
    client.ask("QUIT")
    gone = mx.logged("message-dropped")
    assert [(line["recipients"], line["reason"], line["detail"]) for line in gone] == [
        (["alice@example.test"], "sender-id-fail", reason)
        for word, reason in (("fail", "Not Permitted"), ("missing", "Domain Does Not Exist"))
        if word in dropped
    ]
    [session] = mx.until(
        lambda: [line for line in mx.logged("session-ended") if line.get("transactions")], what="end of the session"
    )
    assert len(session.get("refusals", [])) == len(refused)


def test_the_stamps_stand_above_received(checking):
    mx = checking()
    send(outside(mx, "EHLO client.none.test"), ["From: user@pass.test", "Subject: x"], sender="bounce@fail.test")
    message = delivered(mx, 1)["x"]
    assert message.keys()[:7] == [
        "Return-Path",
        "Delivered-To",
        "Authentication-Results",
        "Received-SPF",
        "Received-SPF",
        "Received-SPF",
        "Received",
    ]
    assert " ".join(message["Authentication-Results"].split()) == (
        "mx.example.test; sender-id=pass header.from=user@pass.test; "
        'spf=fail reason="Not Permitted" smtp.mailfrom=bounce@fail.test; '
        'spf=none reason="No Record" smtp.helo=client.none.test'
    )
    assert status_of(message) is None


def test_a_refusal_is_held_in_the_tarpit(checking):
    mx = checking(SENDERID__SPOOFED_DOMAIN_ACTION="Reject", TARPIT__TIME="0.4")
    client = outside(mx, "EHLO client")
    assert send(client, ["From: user@pass.test"]).startswith(TAKEN)
    assert mx.metric("tarpit_holds_total") == 0
    begun = time.monotonic()
    assert send(client, ["From: user@fail.test"]) == EXPLAINED
    assert time.monotonic() - begun >= 0.4


def test_the_three_troubles(checking, names):
    mx = checking(
        SENDERID__SPOOFED_DOMAIN_ACTION="Reject",
        SENDERID__EXCHANGE_HEADERS="true",
        SENDERID__INTERNAL_SERVERS="198.51.100.0/24",
    )
    client = outside(mx, "EHLO client")
    through = "Received: from x ([192.0.2.7]) by hub.example.test; Sun, 22 Nov 2026 00:00:00 +0000"
    # (a) no field: MAIL FROM stands in
    assert send(client, [through, "Subject: a"], sender="user@behind.test").startswith(TAKEN)
    assert send(client, [through, "Subject: a2"], sender="user@plainfail.test") == (
        "550 5.7.1 Sender ID (PRA) Not Permitted"
    )
    # (b) fields, and no address
    assert send(client, [through, "From: a@pass.test, b@pass.test", "Subject: b"]) == (
        "550 5.7.1 Missing Purported Responsible Address"
    )
    # (c) no source address
    assert send(client, ["From: user@plainfail.test", "Subject: c"]).startswith(TAKEN)
    found = delivered(mx, 2)
    assert "sender-id=pass smtp.mailfrom=user@behind.test" in found["a"]["Authentication-Results"]
    assert status_of(found["c"]) is None
    assert found["c"]["Authentication-Results"] == "mx.example.test; none"
    assert [line["reason"] for line in mx.logged("sender-unchecked")] == ["no-source-address"]
    assert mx.metric("senderid_unchecked_total") == 1
    assert ("pass.test", "TXT") not in names.questions


def test_behind_our_own_servers(checking):
    mx = checking(SENDERID__INTERNAL_SERVERS="198.51.100.4, 203.0.113.0/24", SENDERID__SPOOFED_DOMAIN_ACTION="Reject")
    client = outside(mx, "EHLO hub.example.test")
    hops = [
        "Received: from filter.example.test ([203.0.113.9]) by hub.example.test",
        "Received: from mail.behind.test (mail.behind.test [192.0.2.7])\r\n\tby filter.example.test",
        "Received: from forged ([198.51.100.1]) by forged",
    ]
    score = "X-MS-Exchange-Organization-SCL: 5"
    assert send(client, [*hops, score, "From: user@behind.test", "Subject: x"]).startswith(TAKEN)
    assert send(client, [*hops, "From: user@pass.test"]) == "550 5.7.1 Sender ID (PRA) Not Permitted"
    message = delivered(mx, 1)["x"]
    assert "client-ip=192.0.2.7" in message["Received-SPF"]
    assert message["X-MS-Exchange-Organization-SCL"] == "5", "our own server's word is taken"


@pytest.mark.parametrize("action", ["Reject", "Delete"])
def test_bypassed_recipients_still_get_it(checking, action):
    mx = checking(
        SENDERID__SPOOFED_DOMAIN_ACTION=action,
        SENDERID__BYPASSED_RECIPIENTS="bob@example.test",
        LIMITS__NULL_SENDER_RECIPIENTS="3",
    )
    client = outside(mx, "EHLO client")
    everybody = ("alice@example.test", "bob@example.test", "x@all.example.test")
    assert send(client, ["From: user@fail.test", "Subject: mixed"], recipients=everybody).startswith(TAKEN)
    assert send(client, ["From: user@fail.test", "Subject: spared"], recipients=everybody[1:2]).startswith(TAKEN)
    found = delivered(mx, 2)
    assert all("sender-id=fail" in message["Authentication-Results"] for message in found.values())
    attempts = mx.until(
        lambda: len(mx.logged("delivery-attempt")) == 2 and mx.logged("delivery-attempt"), what="attempts"
    )
    assert [[one["recipient"] for one in line["outcomes"]] for line in attempts] == [["bob@example.test"]] * 2
    assert [line["recipients"] for line in mx.logged("message-dropped")] == [
        ["alice@example.test", "x@all.example.test"]
    ]
    assert mx.metric('senderid_actions_total{action="partly-dropped"}') == 1


def test_plain_spf(checking):
    mx = checking(SENDERID__SPF_MFROM_ACTION="Reject", SENDERID__TEMP_ERROR_ACTION="Reject")
    client = outside(mx, "EHLO client")
    good = ["From: user@pass.test", "Subject: x"]
    assert send(client, good, sender="b@plainfail.test") == "550 5.7.23 SPF (MAIL FROM) Not Permitted"
    assert send(client, good, sender="b@temperror.test") == "451 4.4.3 SPF check is temporarily unavailable"
    assert send(client, good, sender="b@permerror.test").startswith(TAKEN)
    assert send(client, good, sender="b@scoped.test").startswith(TAKEN), "its other record speaks for the header alone"
    client.ask("EHLO plainfail.test")
    assert send(client, good) == "550 5.7.23 SPF (HELO) Not Permitted"


def test_the_record_for_the_header_alone(checking):
    mx = checking(SENDERID__SPOOFED_DOMAIN_ACTION="Reject")
    client = outside(mx, "EHLO client")
    assert send(client, ["From: user@scoped.test"]) == "550 5.7.1 Sender ID (PRA) Not Permitted"


# --- nothing is asked without a right to ---


@pytest.mark.parametrize(
    ("environment", "head", "sender"),
    [
        ({"SENDERID__ENABLED": "false"}, ["From: user@fail.test"], "b@fail.test"),
        ({"RELAY__NETWORKS": "198.51.100.0/24"}, ["From: user@fail.test"], "b@fail.test"),
        ({"SENDERID__BYPASSED_SENDER_DOMAINS": "fail.test"}, ["From: user@fail.test"], "b@fail.test"),
        ({"SENDERID__INTERNAL_SERVERS": "198.51.100.4"}, ["From: user@fail.test"], "b@fail.test"),
        ({}, ["From: user@localhost"], ""),
        ({}, ["From: user@[192.0.2.1]"], ""),
        ({}, ["From: a@fail.test", "From: b@pass.test"], ""),
        ({}, ["Resent-From: nobody", "From: user@fail.test"], ""),
        ({}, ["Subject: x"], ""),
    ],
)
def test_nothing_is_asked(checking, names, environment, head, sender):
    mx = checking(**environment)
    assert send(outside(mx, "EHLO client"), head, sender=sender).startswith(TAKEN)
    mx.until(mx.delivered, what="message")
    assert names.questions == []


# --- trouble ---


def test_dead_name_servers(checking, names):
    names.set("", fault="drop")
    mx = checking(
        DNS__TIMEOUT="0.2", DNS__LIFETIME="0.4", SENDERID__EXCHANGE_HEADERS="true", RELAY__NETWORKS="198.51.100.9"
    )
    client = outside(mx, "EHLO client")
    for number in range(10):
        assert send(client, [f"From: user@dead{number}.test", f"Subject: {number}"]).startswith(TAKEN)
    assert mx.metric('dns_failures_total{reason="broken"}') > 0, "after some silence nobody is waited for"
    assert {status_of(message) for message in delivered(mx, 10).values()} == {"TempError"}
    names.set("", fault=None)


def test_dead_name_servers_hold_nobody_else(checking, names):
    mx = checking(DNS__TIMEOUT="100", DNS__LIFETIME="100", DNS__BUDGET_TIME="100", DRAIN_TIME="1")
    other = outside(mx, "EHLO other")
    assert send(other, ["From: user@pass.test"]).startswith(TAKEN)
    names.set("slow.test", fault="drop")
    waiting = outside(mx, "EHLO waiting")
    waiting.ask("MAIL FROM:<>", "RCPT TO:<alice@example.test>", "DATA")
    waiting.send("From: user@slow.test", "", ".")
    mx.until(lambda: ("slow.test", "TXT") in names.questions, what="question")
    for _ in range(20):
        assert send(other, ["From: user@pass.test"]).startswith(TAKEN)
    assert waiting.silent(0.01)


@pytest.mark.parametrize(
    ("word", "status"), [("loop", "None"), ("deep", "PermError"), ("big", "PermError"), ("dots..", "None")]
)
def test_hostile_domains(checking, word, status):
    mx = checking(SENDERID__EXCHANGE_HEADERS="true")
    client = outside(mx, "EHLO client")
    assert send(client, [f"From: user@{word}.test", "Subject: x"], sender=f"b@{word.strip('.')}.test").startswith(TAKEN)
    if word != "dots..":
        assert status_of(delivered(mx, 1)["x"]) == status


def test_five_thousand_fields(checking):
    mx = checking(SENDERID__SPOOFED_DOMAIN_ACTION="Reject")
    client = outside(mx, "EHLO client")
    many = [f"X-Field-{number}: {number}" for number in range(5_000)]
    assert send(client, [*many, "From: user@pass.test"]).startswith(TAKEN)
    assert send(client, ["From: user@pass.test", *many, "From: user@pass.test"]) == (
        "550 5.7.1 Missing Purported Responsible Address"
    )


@pytest.mark.parametrize("text_line", ["1000", "0"])
def test_a_header_line_of_a_megabyte(checking, names, text_line):
    line = "From: " + "x" * (1 << 20) + " <user@pass.test>"
    mx = checking(LIMITS__TEXT_LINE=text_line)
    assert send(outside(mx, "EHLO client"), [line]) == "552 5.3.4 Header section is too large"
    assert names.questions == []


def test_a_header_line_of_a_megabyte_without_any_limit(checking):
    mx = checking(LIMITS__TEXT_LINE="0", LIMITS__HEADER_SIZE="0", SENDERID__EXCHANGE_HEADERS="true")
    client = outside(mx, "EHLO client")
    assert send(client, ["From: " + "x" * (1 << 20) + " <user@pass.test>", "Subject: x"]).startswith(TAKEN)
    mx.until(mx.delivered, what="message")
    assert b"SenderIdResult: Pass" in mx.delivered()[0].read_bytes()[:4096]


# --- strangers' own stamps, SUBMITTER ---


def test_forged_stamps_are_gone(checking):
    mx = checking(SENDERID__EXCHANGE_HEADERS="true")
    forged = [
        "Authentication-Results: mx.example.test; sender-id=pass header.from=user@fail.test",
        "Authentication-Results: elsewhere.test; spf=pass",
        "X-MS-Exchange-Organization-SenderIdResult: Pass",
        "X-MS-Exchange-Organization-SCL: -1",
    ]
    assert send(outside(mx, "EHLO client"), [*forged, "From: user@fail.test", "Subject: x"]).startswith(TAKEN)
    message = delivered(mx, 1)["x"]
    assert message.get_all("X-MS-Exchange-Organization-SenderIdResult") == ["Fail"]
    assert message["X-MS-Exchange-Organization-SCL"] is None
    ours, theirs = message.get_all("Authentication-Results")
    assert "sender-id=fail" in ours
    assert theirs == "elsewhere.test; spf=pass"


def test_submitter(checking):
    mx = checking(SENDERID__SUBMITTER="true")
    client = outside(mx, "")
    assert "250 SUBMITTER" in client.ask("EHLO client").replace("250-SUBMITTER", "250 SUBMITTER").splitlines()
    head = ["From: user+tag@pass.test", "Subject: x"]
    assert send(client, head, parameters=" SUBMITTER=user+2Btag@pass.test").startswith(TAKEN)
    assert send(client, head[1:], parameters=" SUBMITTER=user@fail.test") == (
        "554 5.7.7 Cannot verify submitter address."
    ), "only a stamp is wanted"
    assert send(client, head, parameters=" SUBMITTER=other@pass.test") == "550 5.7.1 Submitter does not match header."
    assert send(client, ["Subject: x"], parameters=" SUBMITTER=user@pass.test") == (
        "554 5.7.7 Cannot verify submitter address."
    )


def test_a_submitter_that_is_not_permitted_is_refused_at_mail(checking, names):
    mx = checking(SENDERID__SUBMITTER="true", SENDERID__SPOOFED_DOMAIN_ACTION="Reject")
    client = outside(mx, "EHLO client")
    assert client.ask("MAIL FROM:<> SUBMITTER=user@fail.test") == "550 5.7.1 Submitter not allowed."
    assert client.ask("MAIL FROM:<> SUBMITTER=user@missing.test") == "550 5.7.1 Submitter not allowed."
    assert send(client, ["From: user@pass.test"], parameters=" SUBMITTER=user@pass.test").startswith(TAKEN)
    assert ("why.fail.test", "TXT") in names.questions
    assert mx.metric('senderid_actions_total{action="refused"}') == 2


def test_mail_from_this_host_has_no_status(checking, names):
    mx = checking(SENDERID__SPOOFED_DOMAIN_ACTION="Reject")
    assert send(mx.client("EHLO client"), ["From: user@fail.test", "Subject: x"]).startswith(TAKEN)
    assert delivered(mx, 1)["x"]["Authentication-Results"] == "mx.example.test; none"
    assert [line["reason"] for line in mx.logged("sender-unchecked")] == ["local-source-address"]
    assert names.questions == []


@pytest.mark.parametrize("environment", [{}, {"SENDERID__SUBMITTER": "true", "SENDERID__ENABLED": "false"}])
def test_submitter_is_not_offered_unless_it_is_verified(checking, environment):
    mx = checking(**environment)
    client = outside(mx, "")
    assert "SUBMITTER" not in client.ask("EHLO client")
    assert client.ask("MAIL FROM:<> SUBMITTER=user@pass.test")[:3] == "555"


# --- the commands ---


def test_set_tells_the_running_server(checking, names):
    mx = checking("# settings\n", SENDERID__ENABLED=None)
    client = outside(mx, "EHLO client")
    assert send(client, ["From: user@plainfail.test"]).startswith(TAKEN)
    client.close()
    said = mx.cli("senderid", "set", "enabled", "true").stdout
    assert f"The running server (pid {mx.process.pid}) has read its settings again." in said
    assert mx.cli("senderid", "set", "SpoofedDomainAction", "reject").returncode == 0
    mx.until(lambda: len(mx.logged("files-reread") + mx.logged("reloaded")) == 2, what="two reloads")
    assert mx.config.read_text() == '# settings\n\n[senderid]\nenabled = true\nspoofed_domain_action = "reject"\n'

    def refuses():
        again = outside(mx, "EHLO client")
        reply = send(again, ["From: user@plainfail.test"])
        again.close()
        return reply == "550 5.7.1 Sender ID (PRA) Not Permitted"

    mx.until(refuses, what="a refusal by the new workers")
    assert json.loads(mx.cli("senderid", "get", "--json").stdout)["spoofed_domain_action"] == "Reject"
    mx.stop()
    assert "No server was found running" in mx.cli("senderid", "set", "enabled", "false").stdout
