"""Sender authentication on the wire: what is refused and with which words, and what the message says when it is handed on."""

from __future__ import annotations

import re
from email import message_from_bytes
from email.policy import SMTP

import pytest
from tests.doubles.name_server import NameServer

row = pytest.mark.row

GOOD, BAD = "192.0.2.1", "203.0.113.1"
ZONE = f"""
    good.test       TXT "v=spf1 ip4:{GOOD} -all"
    other.test      TXT "v=spf1 ip4:{GOOD} -all"
    plain.test      TXT "v=spf1 -all"
    why.test        TXT "v=spf1 -all exp=text.why.test"
    text.why.test   TXT "Mail from %{{i}} is not ours"
    soft.test       TXT "v=spf1 ~all"
    neutral.test    TXT "v=spf1 ?all"
    nothing.test    A   192.0.2.9
    broken.test     TXT "v=spf1 wombat"
    helo.good.test  TXT "v=spf1 ip4:{GOOD} -all"
"""


@pytest.fixture(scope="session")
def names():
    with NameServer(ZONE) as running:
        running.set("temp.test", fault="servfail")
        yield running


@pytest.fixture
def checking(site, names):
    """Stamps, and refuses what it may."""
    return site(
        dns__servers=names.address, senderid__enabled="true", senderid__spoofed_domain_action="Reject",
        senderid__temp_error_action="Reject", senderid__spf_mfrom_action="Reject", senderid__submitter="true",
    )  # fmt: skip


@pytest.fixture
def stamping(site, names):
    """Stamps and does no more."""
    return site(dns__servers=names.address, senderid__enabled="true")


def connect(server, source, hello="EHLO client"):
    wire = server.proxied(source)
    assert wire.reply().code == 220
    assert wire.ask(hello).code == 250
    return wire


def said(server, header, source=BAD, sender="", hello="EHLO client", to="x@all.example.test", parameters=""):
    """The reply to a message with this header."""
    content = header.encode() + b"\r\n\r\nx\r\n"
    reply = connect(server, source, hello).deliver(to, content, sender=sender, parameters=parameters)
    return f"{reply.code} {reply.lines[0]}"


def handed(server, recipient, header, **envelope):
    """The message as the next hop gets it."""
    assert said(server, header, to=recipient, **envelope)[:3] == "250"
    return message_from_bytes(server.hop.handed(recipient).content, policy=SMTP)


UNCHECKED = 'spf=none reason="Malformed Domain" smtp.helo=client'
"""What is told of a client whose HELO name is no domain."""


def results(message):
    """The results in our own Authentication-Results, one string each, but for UNCHECKED."""
    ours = [field for field in message.get_all("Authentication-Results") if field.startswith("mx.example.test")]
    assert len(ours) == 1
    told = [" ".join(result.split()) for result in ours[0].split(";\t")[1:]] or [ours[0]]
    return [result for result in told if result != UNCHECKED]


@row("spf-08")
def test_spf_08_that_helo_cannot_be_checked_is_told(stamping, someone):
    message = handed(stamping, someone(), "From: a@good.test", source=GOOD)
    assert message["Authentication-Results"].endswith(UNCHECKED)
    assert message["Received-SPF"].startswith("none (mx.example.test: client is no domain that could be asked)")
    assert "envelope-from" not in message["Received-SPF"]


@row("spf-07")
def test_spf_07_replies_name_the_check_and_whose_words_are_whose(checking):
    good = "From: user@good.test"
    refused = "550 5.7.23 SPF (MAIL FROM) Not Permitted"
    assert said(checking, good, GOOD, "b@plain.test") == refused
    explained = f"{refused} - the domain why.test explains: Mail from {GOOD} is not ours"
    assert said(checking, good, GOOD, "b@why.test") == explained
    assert said(checking, good, GOOD, "b@temp.test") == "451 4.4.3 SPF check is temporarily unavailable"
    assert said(checking, good, GOOD, "b@broken.test")[:3] == "250"
    assert said(checking, good, GOOD, "", "EHLO mail.plain.test")[:3] == "250"
    assert said(checking, good, GOOD, "", "EHLO plain.test") == "550 5.7.23 SPF (HELO) Not Permitted"


@row("spf-08")
def test_spf_08_received_spf_stands_above_received(stamping, someone):
    message = handed(stamping, someone(), "From: user@good.test", sender="b@plain.test", hello="EHLO helo.good.test")
    names = message.keys()
    assert names[:5] == ["Authentication-Results", *["Received-SPF"] * 3, "Received"]
    first = " ".join(message["Received-SPF"].split())
    assert re.match(r"fail \(mx\.example\.test: domain of b@plain\.test .*\) receiver=mx\.example\.test; ", first)
    pairs = dict(re.findall(r"([a-z-]+)=([^;]*);", first))
    assert (pairs["client-ip"], pairs["helo"], pairs["identity"]) == (BAD, "helo.good.test", "mailfrom")
    assert pairs["envelope-from"] == '"b@plain.test"'


@row("sid-01")
@pytest.mark.parametrize(
    ("header", "place"),
    [
        ("From: a@other.test", "from=a@other.test"),
        ("From: a@other.test\r\nSender: b@good.test", "sender=b@good.test"),
        ("Sender: \r\nFrom: a@other.test", "from=a@other.test"),
        ("Resent-From: c@good.test\r\nSender: b@x.test\r\nFrom: a@x.test", "resent-from=c@good.test"),
        ("Resent-Sender: d@good.test\r\nResent-From: c@x.test\r\nFrom: a@x.test", "resent-sender=d@good.test"),
        (
            "Resent-From: c@good.test\r\nReceived: from x by y\r\nResent-Sender: d@x.test\r\nFrom: a@x.test",
            "resent-from=c@good.test",
        ),
    ],
)
def test_sid_01_the_responsible_address(stamping, someone, header, place):
    message = handed(stamping, someone(), header, source=GOOD)
    assert results(message) == [f"sender-id=pass header.{place}"]


@row("sid-02")
@pytest.mark.parametrize(
    "header",
    [
        "Sender: a@good.test\r\nSender: b@good.test\r\nFrom: a@good.test",
        "From: a@good.test\r\nFrom: b@good.test",
        "From: a@good.test, b@good.test",
        "From: a",
        "From: undisclosed:;",
        "Resent-From: a@good.test, b@good.test\r\nFrom: a@good.test",
    ],
)
def test_sid_02_an_ill_formed_message_has_none(checking, header):
    assert said(checking, header, GOOD) == "550 5.7.1 Missing Purported Responsible Address"


@row("sid-04")
@pytest.mark.parametrize(
    ("domain", "reply", "result"),
    [
        ("good", "250", "pass"),
        ("plain", "550 5.7.1 Sender ID (PRA) Not Permitted", "fail"),
        ("absent", "550 5.7.1 Sender ID (PRA) Domain Does Not Exist", "fail"),
        ("soft", "250", "softfail"),
        ("neutral", "250", "neutral"),
        ("nothing", "250", "none"),
        ("broken", "250", "permerror"),
        ("temp", "451 4.4.3 Sender ID check is temporarily unavailable", "temperror"),
    ],
)
def test_sid_04_each_result_its_reply_and_its_stamp(checking, stamping, someone, domain, reply, result):
    header = f"From: user@{domain}.test"
    answer = said(checking, header, GOOD)
    assert answer[:3] == "250" if reply == "250" else answer == reply
    [stamp] = results(handed(stamping, someone(), header, source=GOOD))
    assert stamp.startswith(f"sender-id={result} ")


@row("sid-05")
def test_sid_05_submitter_is_the_responsible_address_and_never_believed_alone(checking, stamping):
    header = "From: a+b@good.test"
    assert "SUBMITTER" in connect(checking, GOOD, "EHLO client").ask("EHLO client").lines
    assert said(checking, header, GOOD, parameters=" SUBMITTER=a+2Bb@good.test")[:3] == "250"
    refused = connect(checking, BAD).ask("MAIL FROM:<> SUBMITTER=a+2Bb@good.test")
    assert f"{refused.code} {refused.lines[0]}" == "550 5.7.1 Submitter not allowed."
    assert said(checking, header, GOOD, parameters=" SUBMITTER=c@good.test") == (
        "550 5.7.1 Submitter does not match header."
    )
    assert connect(stamping, GOOD).ask("MAIL FROM:<> SUBMITTER=a@good.test").code == 555


@row("ar-01")
def test_ar_01_our_name_from_strangers_is_removed_and_others_stay(stamping, someone):
    forged = [
        "Authentication-Results: mx.example.test; sender-id=pass header.from=user@plain.test",
        "authentication-results: MX.Example.Test 1; spf=pass",
        'Authentication-Results: (hi) "mx.example.test" 2;\r\n spf=pass',
    ]
    theirs = "Authentication-Results: mx.elsewhere.test; spf=pass smtp.mailfrom=mx.example.test"
    message = handed(stamping, someone(), "\r\n".join((*forged, theirs, "From: user@plain.test")))
    assert results(message) == ['sender-id=fail reason="Not Permitted" header.from=user@plain.test']
    assert len(message.get_all("Authentication-Results")) == 2
    assert message.get_all("Authentication-Results")[1] == theirs.partition(": ")[2]


@row("ar-02")
def test_ar_02_ours_stands_on_top_with_its_properties(stamping, someone):
    message = handed(
        stamping, someone(), "From: u@good.test", source=GOOD, sender="b@plain.test", hello="EHLO helo.good.test"
    )
    assert message.keys()[0] == "Authentication-Results"
    assert results(message) == [
        "sender-id=pass header.from=u@good.test",
        'spf=fail reason="Not Permitted" smtp.mailfrom=b@plain.test',
        "spf=pass smtp.helo=helo.good.test",
    ]


@row("ar-02")
def test_ar_02_none_when_nothing_was_done(site, names, someone):
    behind = site(dns__servers=names.address, senderid__enabled="true", senderid__internal_servers="203.0.113.0/24")
    assert results(handed(behind, someone(), "From: user@plain.test")) == ["mx.example.test; none"]


@row("ar-03")
@pytest.mark.parametrize(
    ("header", "shown"),
    [
        ('From: "a;spf=pass"@good.test', '"\\"a;spf=pass\\"@good.test"'),
        ('From: "a\\"\\\\b"@good.test', '"\\"a\\\\\\"\\\\\\\\b\\"@good.test"'),
        ('From: "a\r\n b: c"@good.test', '"\\"a b: c\\"@good.test"'),
        ("From: jörg@good.test", "good.test"),
    ],
)
def test_ar_03_what_a_sender_gives_is_quoted(stamping, someone, header, shown):
    message = handed(stamping, someone(), header, source=GOOD)
    assert results(message) == [f"sender-id=pass header.from={shown}"]
    assert message.keys().count("Authentication-Results") == 1
