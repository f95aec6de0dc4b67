"""Internationalised messages: RFC 6531, RFC 6532."""

from __future__ import annotations

import pytest
from tests.doubles.next_hop import OFFERS

row = pytest.mark.row

WITHOUT = OFFERS.replace("250-SMTPUTF8\n", "")


@row("utf8-01")
def test_utf8_01_the_offer(plain):
    wire = plain.connect(hello="")
    offers = wire.ask("EHLO client.test").lines
    assert "SMTPUTF8" in offers
    assert "8BITMIME" in offers
    assert wire.ask("MAIL FROM:<a@remote.test> SMTPUTF8=1").code == 501
    assert wire.ask("MAIL FROM:<a@remote.test> SMTPUTF8=").code == 501
    assert wire.ask("VRFY jörg SMTPUTF8").code in (252, 502)
    assert wire.ask("EXPN jörg SMTPUTF8").code in (252, 502, 550)
    assert wire.ask("MAIL FROM:<a@remote.test> SMTPUTF8").code == 250


@row("utf8-02")
def test_utf8_02_addresses_beyond_ascii_need_the_parameter(plain, someone):
    wire = plain.connect()
    for address in ("jörg@remote.test", "日本@remote.test", '"é"@remote.test'):
        reply = wire.ask(f"MAIL FROM:<{address}>")
        assert reply.code in (501, 550, 553)
        assert reply.code == 501 or reply.enhanced == "5.6.7"
    assert wire.ask("MAIL FROM:<a@remote.test>").code == 250
    reply = wire.ask("RCPT TO:<jörg@bücher.test>")
    assert reply.code in (501, 550, 553)
    assert reply.code == 501 or reply.enhanced == "5.6.7"
    wire.ask("RSET")
    recipient = someone()
    assert (
        wire.ask("MAIL FROM:<日本@remote.test> SMTPUTF8", "RCPT TO:<jörg@bücher.test>", f"RCPT TO:<{recipient}>").code
        == 250
    )
    assert wire.content(b"\r\n").code == 250
    handed = plain.hop.handed(recipient)
    assert handed.mail.startswith("MAIL FROM:<日本@remote.test>")
    assert "SMTPUTF8" in handed.mail.split()
    assert handed.recipients[0] == "jörg@xn--bcher-kva.test"


@row("utf8-02")
@pytest.mark.parametrize(
    "octets", [b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"J\xf6rg", b"\xc2\x80"]
)
def test_utf8_02_what_is_not_utf8_is_refused(plain, octets):
    wire = plain.connect()
    assert wire.ask(b"MAIL FROM:<" + octets + b"@remote.test> SMTPUTF8").code in (501, 550, 553)
    assert wire.ask("MAIL FROM:<a@remote.test> SMTPUTF8").code == 250
    assert wire.ask(b"RCPT TO:<" + octets + b"@all.example.test>").code in (501, 550, 553)
    assert wire.ask(b"RCPT TO:<a@" + octets + b".test>").code in (501, 550, 553)


@row("utf8-03")
def test_utf8_03_a_domain_has_two_names(plain):
    wire = plain.connect()
    for domain in ("bücher.test", "BÜCHER.test", "xn--bcher-kva.test", "XN--BCHER-KVA.test", "bu\u0308cher.test"):
        assert wire.ask("MAIL FROM:<a@remote.test> SMTPUTF8").code == 250
        assert wire.ask(f"RCPT TO:<jörg@{domain}>").code == 250, domain
        assert wire.ask(f"RCPT TO:<nobody@{domain}>").enhanced == "5.1.1", domain
        assert wire.ask("RSET").code == 250
    assert wire.ask("MAIL FROM:<a@remote.test>", "RCPT TO:<postmaster@bücher.test>").code == 250, (
        "the domain alone needs no SMTPUTF8"
    )


@row("utf8-03")
@pytest.mark.parametrize("local", ["\uff4aörg", "jorg", "joerg", "jör\u0261", "jö\u00adrg", "\uff41lice"])
def test_utf8_03_local_parts_that_look_alike_are_not_one(plain, local):
    wire = plain.connect()
    assert wire.ask("MAIL FROM:<a@remote.test> SMTPUTF8").code == 250
    reply = wire.ask(f"RCPT TO:<{local}@{'example' if 'lice' in local else 'bücher'}.test>")
    assert (reply.code, reply.enhanced) == (550, "5.1.1")


@row("utf8-03")
@pytest.mark.parametrize("local", ["JÖRG", "jÖrg", "JO\u0308RG", '"jörg"'])
def test_utf8_03_a_mailbox_is_found_in_any_case(plain, local):
    wire = plain.connect()
    assert wire.ask("MAIL FROM:<a@remote.test> SMTPUTF8", f"RCPT TO:<{local}@bücher.test>").code == 250


@row("utf8-03")
def test_utf8_03_relayed_as_written(plain, someone):
    other = someone()
    wire = plain.connect()
    assert (
        wire.ask(
            "MAIL FROM:<Größe@remote.test> SMTPUTF8", "RCPT TO:<ÄÖ.\uff37@relayed.test>", f"RCPT TO:<{other}>"
        ).code
        == 250
    )
    assert wire.content(b"\r\n").code == 250
    handed = plain.hop.handed(other)
    assert handed.recipients[0] == "ÄÖ.\uff37@relayed.test"
    assert handed.sender == "Größe@remote.test"


@row("utf8-04")
@pytest.mark.parametrize(("recipient", "subject"), [("żółw@all.example.test", "plain"), ("", "żółw")])
def test_utf8_04_what_needs_it_is_returned(plain, someone, recipient, subject):
    sender = someone()
    recipient = recipient or someone()
    with plain.offered(WITHOUT, someone()):
        content = f"Subject: {subject}\r\n\r\nx\r\n".encode()
        assert plain.connect().deliver(recipient, content, sender=sender, parameters=" SMTPUTF8").code == 250
        text = plain.hop.handed(sender).content
    assert b"5.6.7" in text
    assert not plain.hop.to(recipient)


@row("utf8-04")
@pytest.mark.parametrize("body", ["x", "zażółć"])
def test_utf8_04_what_only_carried_it_goes_on(plain, someone, body):
    recipient = someone()
    with plain.offered(WITHOUT, someone()):
        content = f"Subject: x\r\n\r\n{body}\r\n".encode()
        assert plain.connect().deliver(recipient, content, parameters=" SMTPUTF8").code == 250
        handed = plain.hop.handed(recipient)
    assert "SMTPUTF8" not in handed.mail


@row("utf8-05")
def test_utf8_05_received_says_utf8smtp(plain, someone):
    for parameter, protocol in (("", b"ESMTP"), (" SMTPUTF8", b"UTF8SMTP")):
        recipient = someone()
        assert plain.connect().deliver(recipient, parameters=parameter).code == 250
        assert b" with %s " % protocol in plain.hop.handed(recipient).received


@row("utf8-06")
def test_utf8_06_names_and_replies_are_ascii(plain):
    wire = plain.connect(hello="")
    assert wire.ask("EHLO bücher.test").code == 501
    assert wire.ask("EHLO xn--bcher-kva.test").code == 250
    for line in (
        "MAIL FROM:<日本@bücher.test> SMTPUTF8",
        "RCPT TO:<jörg@bücher.test>",
        "RCPT TO:<żółw@bücher.test>",
        "RCPT TO:<żółw@remote.test>",
        "FÖÖ",
    ):
        wire.ask(line)  # reads ASCII alone
