"""Content and trace: RFC 5321 2.3.8, 4.1.1.4, 4.4, 4.5.2, 6.3."""

from __future__ import annotations

import email
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest

row = pytest.mark.row

NOT_ENDS = [
    b"\n.\n", b"\r.\r", b"\r\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r\n.\r", b"\r\n.\r\r\n", b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n .\r\n",
    b"\r\n. \r\n", b"\r\n..\r\n", b"\n\r.\r\n", b"\r\n.\n\r", b"\xc2\x85.\xc2\x85", b"\xe2\x80\xa8.\xe2\x80\xa8", b"\x0b.\x0b", b"\x0c.\x0c",
]  # fmt: skip


@row("data-01")
@pytest.mark.parametrize("cut", [0, 1])
def test_data_01_nothing_but_crlf_dot_crlf_ends_data(plain, someone, cut):
    wire = plain.connect()
    for mark in NOT_ENDS:
        smuggled = someone()
        wire.envelope(someone())
        assert wire.ask("DATA").code == 354
        commands = f"MAIL FROM:<evil@remote.test>\r\nRCPT TO:<{smuggled}>\r\nDATA\r\nsmuggled".encode()
        stream = b"Subject: x\r\n\r\nx" + mark + commands + b"\r\n.\r\nNOOP\r\n"
        for octets in [stream[at : at + cut] for at in range(len(stream))] if cut else [stream]:
            wire.raw(octets)
        assert wire.reply().code in (250, 500, 501, 550, 554), mark
        assert wire.reply().code == 250, "NOOP"
        assert wire.ask("RSET").code == 250, "no reply is left over"
        assert not plain.hop.to(smuggled)


@row("data-01")
def test_data_01_the_end_may_be_cut_anywhere(plain, someone):
    for at in range(1, 5):
        wire, recipient = plain.connect(), someone()
        wire.envelope(recipient)
        assert wire.ask("DATA").code == 354
        wire.raw(b"Subject: x\r\n\r\nx" + b"\r\n.\r\n"[:at])
        assert wire.silent(0.05)
        wire.raw(b"\r\n.\r\n"[at:])
        assert wire.reply().code == 250
        assert plain.hop.handed(recipient).original == b"Subject: x\r\n\r\nx\r\n"


@row("data-02")
@pytest.mark.parametrize("mark", [b"\n", b"\r", b"\n\n", b"\n\r", b"\r\r"])
def test_data_02_commands_end_at_crlf_alone(plain, mark):
    wire = plain.connect()
    wire.envelope("alice@example.test")
    # A line with a bare CR or LF in it: refused, and no part of it is a command.
    wire.raw(b"NOOP" + mark + b"RSET" + mark + b"QUIT\r\nHELP\r\n")
    codes = []
    while not codes or codes[-1] != 214:
        codes.append(wire.reply().code)
    assert all(code in (500, 501) for code in codes[:-1])
    assert wire.content(b"\r\n").code == 250, "the transaction was not touched"


@row("data-02")
@pytest.mark.parametrize("bare", [b"\r", b"\n"])
def test_data_02_bare_cr_and_lf_are_not_passed_on(plain, site, someone, bare):
    contents = (
        b"Subject: x\r\n\r\na" + bare + b"b\r\n",
        b"Subject: x" + bare + b"X: y\r\n\r\n",
        b"\r\n" + bare + b"\r\n",
        bare + b"\r\n",
    )
    for content in contents:
        recipient = someone()
        assert plain.connect().deliver(recipient, content).code in range(500, 560)
        assert not plain.hop.to(recipient)
    harmless = site(smtp__bare_newline="normalise")
    for content in contents:
        recipient = someone()
        assert harmless.connect().deliver(recipient, content).code == 250
        octets = harmless.hop.handed(recipient).stuffed
        assert not re.search(rb"(?<!\r)\n|\r(?!\n)", octets)


BODIES = [
    b".\r\n", b"..\r\n", b"...\r\n", b". \r\n", b".x\r\n.y\r\n", b"a\r\n.\r\nb\r\n", b"\r\n\r\n", b" \r\n\t\r\n", b"trailing  \r\n",
    bytes(range(1, 10)) + b"\x0b\x0c" + bytes(range(14, 128)) + b"\r\n", bytes(range(128, 256)) + b"\r\n", b"\xff\xfe\r\n",
    "日本語 zażółć\r\n".encode(), b"From here\r\n", b"MAIL FROM:<a@b.test>\r\nQUIT\r\n", b"x" * 998 + b"\r\n",
]  # fmt: skip


@row("data-03")
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_data_03_octets_pass_through(plain, someone, body):
    recipient, content = someone(), b"Subject: x\r\n\r\n" + body
    wire = plain.connect()
    wire.envelope(recipient, parameters=" BODY=8BITMIME")
    stuffed = re.sub(rb"(?m)^\.", b"..", content)
    assert wire.content(stuffed).code == 250
    handed = plain.hop.handed(recipient)
    assert handed.original == content
    assert handed.stuffed.endswith(stuffed), "stuffed as it was"


RECEIVED = re.compile(
    r"Received: from (?P<hello>\S+) \((?:\S+ )?\[(?P<address>\S+)\]\)\s+by (?P<by>\S+)(?: \([^()]*\))?"
    r"\s+with (?P<protocol>\S+)\s+id (?P<id>\S+)(?:\s+for <(?P<recipient>\S+)>)?;\s+(?P<date>.+ [+-][0-9]{4})"
)


@row("data-04")
@pytest.mark.parametrize(
    ("hello", "protocol"),
    [("EHLO client.test", "ESMTP"), ("HELO client.test", "SMTP"), ("EHLO [IPv6:2001:db8::7]", "ESMTP")],
)
@pytest.mark.parametrize(
    ("source", "address"), [("", "127.0.0.1"), ("198.51.100.7", "198.51.100.7"), ("2001:DB8::9", "IPv6:2001:db8::9")]
)
def test_data_04_received(plain, someone, *, hello, protocol, source, address):
    recipient = someone()
    wire = plain.proxied(source) if source else plain.wire()
    assert wire.reply().code == 220
    assert wire.ask(hello).code == 250
    before = datetime.now(UTC).replace(microsecond=0)
    reply = wire.deliver(recipient)
    handed = plain.hop.handed(recipient)
    assert handed.content.startswith(b"Received: ")
    found = RECEIVED.fullmatch(handed.received.decode("ascii"))
    assert found, handed.received
    assert found["hello"] == hello.split()[1]
    assert found["address"] == address
    assert found["by"] == "mx.example.test"
    assert found["protocol"] == protocol
    assert found["id"] in reply.text
    assert before <= parsedate_to_datetime(found["date"]) <= datetime.now(UTC)
    assert all(len(line) <= 78 + 40 for line in handed.received.split(b"\r\n"))


@row("data-05", "data-06")
def test_data_05_06_the_header_stays_as_it_is(plain, someone):
    trace = b"".join(
        b"received:from h%d (weird\r\n\t  folding ) by x;\r\n  not a date %d\r\n" % (hop, hop) for hop in range(5)
    )
    content = (
        b"Return-Path: <old@remote.test>\r\n"
        + trace
        + b"Bcc: secret@remote.test\r\nX-Odd:   spaced   \r\nRECEIVED : last\r\n\r\nbody\r\n"
    )
    recipient = someone()
    assert plain.connect().deliver(recipient, content).code == 250
    handed = plain.hop.handed(recipient)
    assert handed.original == content
    assert handed.received.startswith(b"Received: from client.test")


@row("data-06")
@pytest.mark.parametrize("content", [b"Subject: only\r\n\r\nbody\r\n", b"\r\nbody\r\n", b"From: a@b.test\r\n\r\n"])
def test_data_06_nothing_is_added_but_received(plain, someone, content):
    recipient = someone()
    assert plain.connect().deliver(recipient, content).code == 250
    assert plain.hop.handed(recipient).original == content


@row("data-11")
@pytest.mark.parametrize(
    ("content", "passed_on"),
    [
        (b" by trusted.test ([10.0.0.1])\r\nSubject: x\r\n", b"\r\n by trusted.test ([10.0.0.1])\r\nSubject: x\r\n"),
        (b"\tx\r\n\r\nbody\r\n", b"\r\n\tx\r\n\r\nbody\r\n"),
        (b"a body alone\r\n", b"\r\na body alone\r\n"),
        (b"A: b\r\nno field\r\nC: d\r\n\r\n", b"A: b\r\n\r\nno field\r\nC: d\r\n\r\n"),
        (b"From x 1970\r\nA: b\r\n\r\nbody\r\n", b"X-Mailbox-Line: From x 1970\r\nA: b\r\n\r\nbody\r\n"),
    ],
)
def test_data_11_the_trace_stays_ours(plain, someone, content, passed_on):
    recipient = someone()
    assert plain.connect().deliver(recipient, content).code == 250
    handed = plain.hop.handed(recipient)
    assert handed.original == passed_on
    read = email.message_from_bytes(handed.content)
    assert f"Received: {read['Received']}".encode() == handed.received


@row("data-12")
def test_data_12_nul(plain, site, someone):
    lax = site(smtp__nul_in_header="accept")
    for content, code in ((b"A: b\0\r\n", 550), (b"A\0: b\r\n", 550), (b"A: b\r\n\r\n\0\r\n", 250)):
        recipient, other = someone(), someone()
        assert plain.connect().deliver(recipient, content).code == code
        assert code == 250 or not plain.hop.to(recipient)
        assert lax.connect().deliver(other, content).code == 250
        assert b"\0" in lax.hop.handed(other).original


@row("data-07")
@pytest.mark.parametrize(("hops", "codes"), [(30, {250}), (90, {250}), (110, range(500, 560)), (1000, range(500, 560))])
def test_data_07_loops(plain, someone, hops, codes):
    recipient = someone()
    content = b"Received: from a by b; date\r\n" * hops + b"Subject: x\r\n\r\nReceived: no field\r\n"
    reply = plain.connect().deliver(recipient, content)
    assert reply.code in codes
    if reply.code == 250:
        assert plain.hop.handed(recipient)
    else:
        assert reply.enhanced == "5.4.6"
        assert not plain.hop.to(recipient)


@row("data-08")
def test_data_08_nothing_is_said_between_354_and_the_end(plain, tight):
    wire = plain.connect()
    assert wire.ask("DATA").code == 503, "no 354 when nothing could be taken"
    for site, piece in (
        (plain, b"Subject: x\r\n\r\nx\r\n"),
        (plain, b"bare\n"),
        (plain, b"y" * 5000 + b"\r\n"),
        (tight, b"z" * 80 + b"\r\n"),
    ):
        wire = site.connect()
        wire.envelope("alice@example.test")
        assert wire.ask("DATA").code == 354
        wire.raw(piece * 5000)
        assert wire.silent(0.1)
        wire.raw(b"\r\n.\r\n")
        assert wire.reply()


@row("data-09")
@pytest.mark.parametrize("size", [999, 1000, 1001, 2048, 70_000, 2_000_000])
@pytest.mark.parametrize("field", [b"X-Long: ", b"\r\n"])
def test_data_09_long_lines_are_whole_or_refused(plain, someone, size, field):
    recipient = someone()
    content = field + b"l" * size + b"\r\n"
    reply = plain.connect().deliver(recipient, content)
    if reply.code == 250:
        assert plain.hop.handed(recipient).original == content
    else:
        assert reply.code in range(500, 560)
        assert not plain.hop.to(recipient)


ODD = [
    b"", b"\r\n", b"no colon\r\n", b" starts folded\r\n\r\n", b": no name\r\n\r\n", b"Subject: no blank line\r\n", b"a\0b: c\r\n\r\n\0\r\n",
    b"From: a@b.test\r\nFrom: c@d.test\r\nFrom: <<<>>>\r\n\r\n", b"Subject: \xff\xfe\r\n\r\n", "Subject: ż\r\n\r\n".encode(),
    b"X: " + b"(" * 900 + b"\r\n\r\n", (b"X: y\r\n" + b" z\r\n" * 20_000) + b"\r\n", b"X: y\r\n" * 20_000 + b"\r\n",
    b'Content-Type: multipart/mixed; boundary=""\r\n\r\n--\r\n', b"\t\r\n \r\n\r\n", b"Subject : space before colon\r\n\r\n",
]  # fmt: skip


@row("data-10")
@pytest.mark.parametrize("content", ODD, ids=range(len(ODD)))
def test_data_10_odd_headers_do_no_harm(plain, someone, content):
    wire, recipient, later = plain.connect(), someone(), someone()
    reply = wire.deliver(recipient, content)
    assert reply.code in (250, 500, 550, 554)
    if reply.code == 250:
        assert plain.hop.handed(recipient).content.endswith(content)
    assert wire.deliver(later).code == 250
    assert plain.hop.handed(later)
