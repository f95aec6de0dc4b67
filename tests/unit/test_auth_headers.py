"""The fields that say what was found: exact text, read back by RFC grammar, and nothing a stranger chose can leave its place."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmoat.mailauth.header import iprev, stamps, unchecked
from mailmoat.mailauth.results import Result, Scope, Status
from mailmoat.mailauth.senderid.identities import NO_PRA, NOBODY, Finding, Identity, IdentityKind

RECEIVER = "mx.example.test"
NOT_PERMITTED = Result(Status.FAIL, "Not Permitted", "Ask me", "remote.tld", "-all")


def identity(identity, mailbox, place):
    return Identity(identity, Scope.MFROM, mailbox, mailbox.rpartition("@")[2], place)


PRA = identity(IdentityKind.PRA, "user@remote.tld", "header.from")
MAIL_FROM = identity(IdentityKind.MAIL_FROM, "bounce@lists.remote.tld", "smtp.mailfrom")
HELO = identity(IdentityKind.HELO, "postmaster@client.remote.tld", "smtp.helo")


def made(*findings, source="192.0.2.1", hello="client.remote.tld", exchange=False):
    made = stamps(findings, receiver=RECEIVER, source=source, helo_name=hello, exchange=exchange)
    return [field.decode("ascii") for field in made]


def test_the_whole_text():
    fields = made(
        Finding(PRA, NOT_PERMITTED),
        Finding(MAIL_FROM, Result(Status.PASS, "Permitted", domain="lists.remote.tld", mechanism="ip4:192.0.2.0/24")),
        Finding(HELO, Result(Status.NONE, "No Record")),
        exchange=True,
    )
    assert fields == [
        (
            "Authentication-Results: mx.example.test;\r\n"
            '\tsender-id=fail reason="Not Permitted" header.from=user@remote.tld;\r\n'
            "\tspf=pass smtp.mailfrom=bounce@lists.remote.tld;\r\n"
            '\tspf=none reason="No Record" smtp.helo=client.remote.tld\r\n'
        ),
        (
            "Received-SPF: pass (mx.example.test: domain of bounce@lists.remote.tld designates 192.0.2.1 as permitted sender)\r\n"
            "\treceiver=mx.example.test;\r\n\tclient-ip=192.0.2.1;\r\n\tidentity=mailfrom;\r\n\thelo=client.remote.tld;\r\n"
            '\tenvelope-from="bounce@lists.remote.tld";\r\n\tmechanism="ip4:192.0.2.0/24";\r\n'
        ),
        (
            "Received-SPF: none (mx.example.test: client.remote.tld designates no permitted senders)\r\n"
            "\treceiver=mx.example.test;\r\n\tclient-ip=192.0.2.1;\r\n\tidentity=helo;\r\n\thelo=client.remote.tld;\r\n"
        ),
        (
            "Received-SPF: fail (mx.example.test: domain of user@remote.tld does not designate 192.0.2.1 as permitted sender)\r\n"
            "\treceiver=mx.example.test;\r\n\tclient-ip=192.0.2.1;\r\n\tidentity=pra;\r\n\thelo=client.remote.tld;\r\n"
            '\tpra="user@remote.tld";\r\n\tmechanism="-all";\r\n'
        ),
        "X-MS-Exchange-Organization-SenderIdResult: Fail\r\n",
        "X-MS-Exchange-Organization-PRD: remote.tld\r\n",
    ]


@pytest.mark.parametrize(
    ("address", "result", "name", "text"),
    [
        ("192.0.2.1", "pass", "a.test", "iprev=pass policy.iprev=192.0.2.1 (a.test)"),
        ("192.0.2.1", "permerror", "", "iprev=permerror policy.iprev=192.0.2.1"),
        ("2001:db8::7", "temperror", "", 'iprev=temperror policy.iprev="2001:db8::7"'),  # a colon is none of a token
    ],
)
def test_what_reverse_dns_says(address, result, name, text):
    expected = f"Authentication-Results: {RECEIVER};\r\n\t{text}\r\n"
    assert iprev(RECEIVER, address, result, name) == expected.encode()


def test_nothing_was_checked():
    assert unchecked(RECEIVER) == b"Authentication-Results: mx.example.test; none\r\n"
    assert made() == ["Authentication-Results: mx.example.test; none\r\n"]


def test_no_responsible_address():
    results, received, status = made(Finding(NOBODY, NO_PRA), exchange=True)
    assert results == 'Authentication-Results: mx.example.test;\r\n\tsender-id=fail reason="No PRA"\r\n'
    assert received.startswith(
        "Received-SPF: fail (mx.example.test: the message has no purported responsible address)\r\n"
    )
    assert "pra=" not in received
    assert status == "X-MS-Exchange-Organization-SenderIdResult: Fail\r\n"


@pytest.mark.parametrize("status", Status)
def test_every_status(status):
    results, received, exchange, _ = made(Finding(PRA, Result(status, "Reason")), exchange=True)
    word = status.value.lower()
    assert f"sender-id={word} " in results
    assert received.startswith(f"Received-SPF: {word} (")
    assert exchange == f"X-MS-Exchange-Organization-SenderIdResult: {status.value}\r\n"


def test_what_is_wrong_with_the_record():
    received = made(Finding(PRA, Result(Status.PERM_ERROR, "Invalid Record", problem='Unknown "mechanism": x')))[1]
    assert '\tproblem="Unknown \\"mechanism\\": x";\r\n' in received


def test_a_domain_that_does_not_exist():
    received = made(Finding(PRA, Result(Status.FAIL, "Domain Does Not Exist")))[1]
    assert received.startswith("Received-SPF: fail (mx.example.test: domain remote.tld does not exist)")


@pytest.mark.parametrize(
    ("mailbox", "shown"),
    [
        ("user+tag@remote.tld", "header.from=user+tag@remote.tld"),
        ('"a b"@remote.tld', 'header.from="\\"a b\\"@remote.tld"'),
        ('"a;spf=pass"@remote.tld', 'header.from="\\"a;spf=pass\\"@remote.tld"'),
        ("user@[192.0.2.1]", 'header.from="user@[192.0.2.1]"'),
        ("bücher@remote.tld", "header.from=remote.tld"),
        ("x" * 400 + "@remote.tld", "header.from=remote.tld"),
        ("a@xn--bcher-kva.test", "header.from=a@xn--bcher-kva.test"),
        ("a@_x.remote.tld", "header.from=a@_x.remote.tld"),
    ],
)
def test_a_mailbox_is_shown_whole_or_quoted_or_by_its_domain(mailbox, shown):
    results = made(Finding(identity(IdentityKind.PRA, mailbox, "header.from"), Result(Status.PASS, "Permitted")))[0]
    assert results == f"Authentication-Results: mx.example.test;\r\n\tsender-id=pass {shown}\r\n"


def test_ipv6_and_literals_are_quoted():
    received = made(Finding(PRA, NOT_PERMITTED), source="2001:db8::1", hello="[IPv6:2001:db8::1]")[1]
    assert '\tclient-ip="2001:db8::1";' in received
    assert '\thelo="[IPv6:2001:db8::1]";' in received


# --- what a stranger chooses ---

VALUE = r'(?:[A-Za-z0-9!#$%&\'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&\'*+/=?^_`{|}~-]+)*|"(?:[ !#-\[\]-~]|\\[ -~])*")'
"""dot-atom or quoted-string."""
COMMENT = r"\((?:[ -'*-\[\]-~]|\\[ -~])*\)"
RECEIVED = re.compile(rf"Received-SPF: [a-z]+ {COMMENT}(?:\r\n\t[a-z-]+={VALUE};)+\r\n")
LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+"
PVALUE = rf'(?:(?:{LOCAL}@)?[A-Za-z0-9_.-]+|"(?:[ !#-\[\]-~]|\\[ -~])*")'
RESULT = rf';\r\n\t(?:spf|sender-id)=[a-z]+(?: reason="(?:[ !#-\[\]-~]|\\[ -~])*")?(?: [a-z]+\.[a-z-]+={PVALUE})?'
RESULTS = re.compile(rf"Authentication-Results: [a-z.]+(?:{RESULT})+\r\n")
EXCHANGE = re.compile(r"X-MS-Exchange-Organization-(?:SenderIdResult: [A-Za-z]+|PRD: [A-Za-z0-9:._\[\]-]+)\r\n")

hostile = st.one_of(
    st.text(max_size=400),
    st.text('"\\()\r\n\t;=@ .ax', max_size=40),
    st.sampled_from(
        ["x\r\nX-MS-Exchange-Organization-SCL: -1", 'x"; spf=pass', "x) spf=pass (", "x\\", "x\0y", "ü" * 500]
    ),
)


@given(hostile, hostile, hostile, hostile, hostile, st.sampled_from(Status), st.sampled_from(IdentityKind))
def test_no_value_leaves_its_place(local, domain, hello, text, source, status, identity):
    place = {
        IdentityKind.PRA: "header.resent-from",
        IdentityKind.MAIL_FROM: "smtp.mailfrom",
        IdentityKind.HELO: "smtp.helo",
    }[identity]
    finding = Finding(
        Identity(identity, Scope.PRA, f"{local}@{domain}", domain, place), Result(status, text, text, text, text, text)
    )
    fields = made(finding, finding, source=source, hello=hello, exchange=True)
    assert RESULTS.fullmatch(fields[0]), fields[0]
    assert RECEIVED.fullmatch(fields[1]), fields[1]
    assert all(EXCHANGE.fullmatch(field) for field in fields[3:]), fields[3:]
    assert max(len(line) for field in fields for line in field.split("\r\n")) <= 998
