"""Parameters of MAIL and RCPT, and announced limits: RFC 3461, 6533, 9422."""

from __future__ import annotations

import pytest

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
