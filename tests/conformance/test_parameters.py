"""Parameters of MAIL and RCPT, and announced limits: RFC 3461, 4954, 6533, 8689, 9422."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys

import pytest
from tests.certificates import Authority
from tests.doubles.next_hop import OFFERS, NextHop

row = pytest.mark.row

ENVID = "x" * 97 + "+20"
GOOD = (
    "NOTIFY=NEVER",
    "notify=never",
    "NOTIFY=SUCCESS,FAILURE,DELAY",
    "NOTIFY=delay",
    "ORCPT=rfc822;Bob+2Btag@Example.Test",
)


@row("dsn-01")
def test_dsn_01_parameters_are_taken_in_full_length(plain):
    wire = plain.connect(hello="")
    assert "DSN" in wire.ask("EHLO client.test").lines
    for mail in ("RET=FULL", "RET=HDRS", "ret=hdrs ENVID=QQ314159", f"ENVID={ENVID}", "SIZE=10 RET=FULL BODY=7BIT"):
        assert wire.ask(f"MAIL FROM:<a@remote.test> {mail}", "RSET").code == 250, mail
    assert wire.ask("MAIL FROM:<a@remote.test>").code == 250
    for rcpt in (*GOOD, f"ORCPT=rfc822;{'y' * 493}", f"NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=x400;{'+20' * 164}"):
        assert wire.ask(f"RCPT TO:<{'l' * 64}@all.example.test> {rcpt}").code == 250, rcpt
    assert wire.ask("RCPT TO:<nobody@example.test> NOTIFY=NEVER").enhanced == "5.1.1", "no parameter changes a reply"


@row("dsn-01")
def test_dsn_01_bad_values_are_refused(plain):
    wire = plain.connect()
    for mail in (
        "RET",
        "RET=",
        "RET=ALL",
        "RET=FULL RET=FULL",
        "ENVID=",
        "ENVID=a ENVID=a",
        f"ENVID={'x' * 101}",
        "ENVID=+00",
    ):
        reply = wire.ask(f"MAIL FROM:<a@remote.test> {mail}")
        assert (reply.code, reply.enhanced) == (501, "5.5.4"), mail
    assert wire.ask("MAIL FROM:<a@remote.test>").code == 250
    for rcpt in (
        "NOTIFY", "NOTIFY=", "NOTIFY=NEVER,SUCCESS", "NOTIFY=ALWAYS", "NOTIFY=SUCCESS,,DELAY", "NOTIFY=DELAY NOTIFY=DELAY",
        "ORCPT=rfc822;a@b ORCPT=rfc822;a@b", f"ORCPT=rfc822;{'y' * 494}",
    ):  # fmt: skip
        reply = wire.ask(f"RCPT TO:<alice@example.test> {rcpt}")
        assert (reply.code, reply.enhanced) == (501, "5.5.4"), rcpt
    assert wire.ask("RCPT TO:<alice@example.test> RET=FULL").code == 555, "a parameter of MAIL"
    helo = plain.connect("HELO client.test")
    assert helo.ask("MAIL FROM:<a@remote.test> RET=FULL").code == 555
    assert helo.ask("MAIL FROM:<a@remote.test>", "RCPT TO:<alice@example.test> NOTIFY=NEVER").code == 555


@row("dsn-02")
def test_dsn_02_xtext_and_the_type_of_an_address(plain):
    wire = plain.connect()
    for value in ("a+", "a+2", "a+2G", "a+0D+0AX: y", "+C3+A9", "é"):
        assert wire.ask(f"MAIL FROM:<a@remote.test> ENVID={value}").code == 501, value
    assert wire.ask("MAIL FROM:<a@remote.test> SMTPUTF8").code == 250
    for value in (
        "a@b.test",
        ";a@b.test",
        "rfc822;",
        "rfc822;a+b@c.test",
        "rfc822;+0A",
        "rfc822;é@b.test",
        "rfc(822);a",
    ):
        assert wire.ask(f"RCPT TO:<alice@example.test> ORCPT={value}").code == 501, value
    for value in ("rfc822;a+2Bb@c.test", "utf-8;jörg@b.test", "UTF-8;j\\x{F6}rg@b.test", "X400;+2FC+3Dde"):
        assert wire.ask(f"RCPT TO:<alice@example.test> ORCPT={value}").code == 250, value


WITH_DSN = OFFERS.replace("250-SMTPUTF8", "250-DSN\n250-SMTPUTF8")


@row("dsn-03")
def test_dsn_03_parameters_go_on_unchanged(plain, someone):
    one, two, three, later = someone(), someone(), someone(), someone()
    with plain.offered(WITH_DSN, later):
        wire = plain.connect()
        assert wire.ask("MAIL FROM:<a@remote.test> SMTPUTF8 RET=FULL ENVID=Q+20q").code == 250
        asked = {
            one: " NOTIFY=delay,SUCCESS ORCPT=rfc822;Bob+2Btag@Example.Test",
            two: "",
            three: " NOTIFY=NEVER ORCPT=utf-8;jörg@b.test",
        }
        for recipient, parameters in asked.items():
            assert wire.ask(f"RCPT TO:<{recipient}>{parameters}").code == 250
        assert wire.content(b"\r\n").code == 250
        handed = plain.hop.handed(one)
        assert "RET=FULL ENVID=Q+20q" in handed.mail
        for recipient, parameters in asked.items():
            assert f"RCPT TO:<{recipient}>{parameters}" in plain.hop.commands
        assert not [message for message in plain.hop.messages if message.recipients == ["a@remote.test"]], "no report"


@row("dsn-03")
def test_dsn_03_nothing_goes_to_a_host_without_it(plain, someone):
    recipient = someone()
    wire = plain.connect()
    assert (
        wire.ask("MAIL FROM:<a@remote.test> RET=HDRS ENVID=q", f"RCPT TO:<{recipient}> NOTIFY=NEVER ORCPT=x;y").code
        == 250
    )
    assert wire.content(b"\r\n").code == 250
    handed = plain.hop.handed(recipient)
    assert not {"RET", "ENVID"} & {word.partition("=")[0] for word in handed.mail.split()}
    assert f"RCPT TO:<{recipient}>" in plain.hop.commands


def open_transaction(wire, sender: str, recipients: list[str]) -> None:
    assert wire.ask(f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{recipient}>" for recipient in recipients)).code == 250


def limited(offers: str) -> str:
    return OFFERS.replace("250-SMTPUTF8", f"250-LIMITS {offers}\n250-SMTPUTF8")


@row("lim-02")
def test_lim_02_no_more_recipients_than_announced(plain, someone):
    recipients, later = [someone() for _ in range(5)], someone()
    with plain.offered(limited("RCPTMAX=2"), later):
        wire = plain.connect()
        open_transaction(wire, someone(), recipients)
        assert wire.content(b"Subject: x\r\n\r\nx\r\n").code == 250
        handed = [plain.hop.handed(recipient) for recipient in recipients]
        assert [message.recipients for message in handed[::2]] == [recipients[:2], recipients[2:4], recipients[4:]]
        assert len({message.connection for message in handed}) == 1


@row("lim-02")
@pytest.mark.parametrize("limits", ["MAILMAX=1 RCPTMAX=2", "RCPTDOMAINMAX=1"])
def test_lim_02_another_session_for_what_does_not_fit(plain, someone, limits):
    name, later, sender = someone().partition("@")[0], someone(), someone()
    recipients = [f"{name}@{domain}" for domain in ("all.example.test", "relayed.test", "all.example.test")]
    recipients[2] = f"x{recipients[2]}"
    with plain.offered(limited(limits), later):
        wire = plain.connect()
        open_transaction(wire, sender, recipients)
        assert wire.content(b"Subject: x\r\n\r\nx\r\n").code == 250
        handed = [plain.hop.handed(recipient) for recipient in recipients]
        assert handed[0].connection != handed[2].connection
        assert [len(plain.hop.to(recipient)) for recipient in recipients] == [1, 1, 1]
        for message in handed:
            assert len(message.recipients) <= 2
            if "DOMAIN" in limits:
                assert len({recipient.partition("@")[2] for recipient in message.recipients}) == 1
    assert not plain.hop.to(sender), "nobody failed"


@row("lim-02")
def test_lim_02_each_recipient_keeps_its_outcome(plain, someone):
    recipients, later, sender = [someone() for _ in range(3)], someone(), someone()
    refused = recipients[1]
    with plain.hop.script(
        EHLO=limited("MAILMAX=1 RCPTMAX=1"),
        RCPT=lambda line: "550 5.1.1 no" if refused in line else "250 2.1.5 ok",
    ):
        wire = plain.connect()
        open_transaction(wire, sender, recipients)
        assert wire.content(b"Subject: x\r\n\r\nx\r\n").code == 250
        assert plain.hop.handed(recipients[0])
        assert plain.hop.handed(recipients[2])
        text = plain.hop.handed(sender).content
    assert refused.encode() in text
    assert recipients[0].encode() not in text.partition(b"\r\n\r\n")[2].partition(b"rfc822-headers")[0]
    with plain.hop.script():
        assert plain.connect().deliver(later).code == 250
        plain.hop.handed(later)


@row("lim-01")
def test_lim_01_what_is_announced_is_enforced(site):
    wire = site(limits__recipients="7").connect(hello="")
    [announced] = [line for line in wire.ask("EHLO client.test").lines if line.startswith("LIMITS")]
    assert announced == "LIMITS RCPTMAX=7"
    assert wire.ask("MAIL FROM:<a@remote.test>").code == 250
    for number in range(7):
        assert wire.ask(f"RCPT TO:<r{number}@all.example.test>").code == 250
    reply = wire.ask("RCPT TO:<r7@all.example.test>")
    assert (reply.code, reply.enhanced) == (452, "4.5.3")
    assert wire.ask("RSET", "MAIL FROM:<a@remote.test>", "RCPT TO:<r7@all.example.test>").code == 250
    unlimited = site(limits__recipients="0").connect(hello="")
    assert not [line for line in unlimited.ask("EHLO client.test").lines if line.startswith("LIMITS")]


def secure(wire) -> tuple[str, ...]:
    """Begin TLS; what is offered then."""
    assert wire.ask("STARTTLS").code == 220
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    wire.socket = context.wrap_socket(wire.socket)
    return wire.ask("EHLO client.test").lines


@row("rtls-01")
def test_rtls_01_requiretls_within_tls_alone(site, someone):
    server, recipient, sender = site(tls__offer="on"), someone(), someone()
    wire = server.connect(hello="")
    assert "REQUIRETLS" not in wire.ask("EHLO client.test").lines
    reply = wire.ask("MAIL FROM:<a@remote.test> REQUIRETLS")
    assert (reply.code, reply.enhanced) == (530, "5.7.10")
    assert "REQUIRETLS" in secure(wire)
    assert wire.ask("MAIL FROM:<a@remote.test> REQUIRETLS=1").code == 501
    assert wire.ask(f"MAIL FROM:<{sender}> REQUIRETLS RET=FULL", f"RCPT TO:<{recipient}>").code == 250
    assert wire.content(b"Subject: secret\r\n\r\nthe body\r\n").code == 250
    report = server.hop.handed(sender)
    assert b"5.7.10" in report.content, "the next hop is no verified one"
    assert b"the body" not in report.content, "as with RET=HDRS"
    assert not server.hop.to(recipient)


WITH_REQUIRETLS = OFFERS.replace("250-SMTPUTF8", "250-REQUIRETLS\n250-SMTPUTF8")
NAME = "hub.test"


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority(tmp_path / "ca")


def speaking_tls(authority: Authority, **rules: str) -> NextHop:
    """A next hop with a certificate for `NAME`."""
    files = authority.sign(NAME)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.chain, files.key)
    return NextHop(tls=lambda wire: context.wrap_socket(wire, server_side=True, suppress_ragged_eofs=True), **rules)


@row("rtls-01")
@pytest.mark.parametrize("offers", [WITH_REQUIRETLS, OFFERS])
def test_rtls_01_onward_over_verified_tls_to_a_host_that_offers_it(fresh, someone, authority, offers):
    """RFC 8689 4.2.1, 5: what cannot go on like that is returned, and what goes on says so again."""
    hop = speaking_tls(authority, EHLO=offers)
    ca = str(authority.certificate)
    site = fresh(hop, tls__offer="on", delivery__tls="verify", delivery__tls_ca=ca, delivery__tls_names=NAME)
    recipient, sender = someone(), someone()
    wire = site.connect()
    secure(wire)
    # A field in the header section changes nothing for it (RFC 8689 4.1).
    for header in (b"", b"TLS-Required: No\r\n"):
        count = len(hop.messages)
        assert wire.ask(f"MAIL FROM:<{sender}> REQUIRETLS", f"RCPT TO:<{recipient}>").code == 250
        assert wire.content(header + b"Subject: secret\r\n\r\nthe body\r\n").code == 250
        hop.wait(lambda count=count: len(hop.messages) > count, "message")
        message = hop.messages[-1]
        assert message.mail.endswith(" REQUIRETLS") is (offers is WITH_REQUIRETLS)
        if offers is WITH_REQUIRETLS:
            assert message.recipients == [recipient]
        else:
            assert (message.recipients, b"5.7.30" in message.content) == ([sender], True)
            assert b"the body" not in message.content
    assert len(hop.handshakes) == hop.accepted, "nothing in clear"


@row("rtls-02")
@pytest.mark.parametrize("level", ["encrypt", "verify"])
@pytest.mark.parametrize("speaks_tls", [False, True])
def test_rtls_02_a_message_can_do_without_tls(fresh, someone, authority, level, speaks_tls):
    """RFC 8689 4.2.2: the next hop is none that the policy takes, and yet the message goes on, over TLS where there is some."""
    hop = speaking_tls(authority) if speaks_tls else NextHop()
    site = fresh(hop, tls__offer="on", delivery__tls=level, delivery__tls_names="other.test", delivery__retry="1s")
    usual, optional, required = someone(), someone(), someone()
    wire = site.connect()
    secure(wire)
    for recipient, header, parameter in (
        (usual, b"", ""),
        (required, b"TLS-Required: No\r\n", " REQUIRETLS"),
        (optional, b"TLS-Required: No\r\n", ""),
    ):
        assert wire.ask(f"MAIL FROM:<a@remote.test>{parameter}", f"RCPT TO:<{recipient}>").code == 250
        assert wire.content(header + b"Subject: x\r\n\r\nthe certificate of your server is over\r\n").code == 250
    message = hop.handed(optional)
    assert b"TLS-Required: No\r\n" in message.content
    assert bool(hop.handshakes) is speaks_tls
    waits = site.server.queue()
    taken_anyway = level == "encrypt" and speaks_tls
    assert bool(hop.to(usual)) is taken_anyway or len(waits) == 2
    assert not hop.to(required)


@row("rtls-02")
def test_rtls_02_a_report_about_it_can_do_without_tls_too(fresh, someone):
    hop = NextHop(RCPT=lambda line: "550 5.1.1 no" if "all.example.test" in line else "250 2.1.5 ok")
    site = fresh(hop, delivery__tls="encrypt")
    wire = site.connect()
    assert (
        wire.deliver(someone(), b"TLS-Required: no\r\nSubject: x\r\n\r\nx\r\n", sender="bob@example.test").code == 250
    )
    report = hop.handed("bob@example.test")
    assert b"\r\nTLS-Required: No\r\n" in report.content.partition(b"\r\n\r\n")[0] + b"\r\n"


@row("rtls-02")
def test_rtls_02_can_be_switched_off(fresh, someone):
    hop = NextHop()
    site = fresh(hop, delivery__tls="encrypt", delivery__tls_optional="off")
    assert site.connect().deliver(someone(), b"TLS-Required: No\r\n\r\nx\r\n").code == 250
    site.server.until(lambda: [one for one in site.server.logged("next-hop-not-secure") if one["reason"] == "tls"])
    assert not hop.messages


@row("auth-05")
def test_auth_05_whoever_it_names_nobody_is_believed(fresh, someone, tmp_path):
    accounts, recipient = tmp_path / "accounts", someone()
    environment = os.environ | {"MAILMOAT_AUTH__FILE": str(accounts)}
    command = [sys.executable, "-m", "mailmoat", "user", "add", "ann", "--password-stdin"]
    subprocess.run(command, input=b"secret\n", env=environment, check=True)
    site = fresh(auth__file=str(accounts), tls__offer="on")
    wire = site.connect()
    assert wire.ask("MAIL FROM:<a@remote.test> AUTH=<>").code == 555, "AUTH is not offered in clear"
    assert any(line.startswith("AUTH ") for line in secure(wire))
    for value in ("a+", "a@b@c", "+3C@", "+3C+3E+0D+0A"):
        reply = wire.ask(f"MAIL FROM:<a@remote.test> AUTH={value}")
        assert (reply.code, reply.enhanced) == (501, "5.5.4"), value
    for value in ("<>", "e+3Dmc2@example.com"):
        assert wire.ask(f"MAIL FROM:<a@remote.test> AUTH={value}", "RSET").code == 250, value
    assert wire.ask("MAIL FROM:<a@remote.test> AUTH=ann@example.test", f"RCPT TO:<{recipient}>").code == 250
    assert wire.content(b"\r\n").code == 250
    assert "AUTH" not in site.hop.handed(recipient).mail, "we have not authenticated there"
