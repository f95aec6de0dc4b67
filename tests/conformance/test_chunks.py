"""CHUNKING and BINARYMIME (RFC 3030)."""

from __future__ import annotations

import pytest
from tests.doubles.next_hop import OFFERS

row = pytest.mark.row

CONTENT = b"Subject: x\r\n\r\n.\r\n..\r\n\x00QUIT\r\n" + bytes(range(128, 256)) + b"\r\n" + b"text\r\n" * 500
TEXT = OFFERS.replace("250-8BITMIME", "250-8BITMIME\n250-CHUNKING")
BINARY = TEXT.replace("250-CHUNKING", "250-CHUNKING\n250-BINARYMIME")
MAIL_FIRST = "503 5.5.1 Need MAIL command first"


def chunks(content, count):
    """The commands and octets of a content in so many chunks."""
    size = -(-len(content) // count)
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    last = len(pieces) - 1
    return b"".join(
        b"BDAT %d%s\r\n" % (len(piece), b" LAST" if number == last else b"") + piece
        for number, piece in enumerate(pieces)
    ), len(pieces)


@row("bdat-01")
@pytest.mark.parametrize("count", [1, 2, 1000])
def test_bdat_01_the_content_is_that_of_data(plain, someone, count):
    by_data, by_chunks = someone(), someone()
    wire = plain.connect(hello="")
    assert "CHUNKING" in wire.ask("EHLO client.test").lines
    assert wire.deliver(by_data, CONTENT.replace(b"\r\n.", b"\r\n..")).code == 250
    wire.envelope(by_chunks)
    stream, sent = chunks(CONTENT, count)
    wire.raw(stream)
    assert wire.codes(sent) == [250] * sent
    assert plain.hop.handed(by_chunks).original == plain.hop.handed(by_data).original == CONTENT


@row("bdat-01")
def test_bdat_01_a_reply_after_each_chunk(plain, someone):
    wire, recipient = plain.connect(), someone()
    wire.envelope(recipient)
    wire.send("BDAT 12")
    wire.raw(b"Subject: x\r")
    assert wire.silent(0.2)
    wire.raw(b"\n")
    assert wire.reply().code == 250
    assert wire.ask("BDAT 0").code == 250
    reply = wire.ask("BDAT 0 LAST")
    assert (reply.code, reply.enhanced) == (250, "2.6.0")
    assert plain.hop.handed(recipient).original == b"Subject: x\r\n"


@row("bdat-02")
def test_bdat_02_what_is_refused_is_read_to_its_end(tight, someone):
    wire, recipient = tight.connect(), someone()
    wire.envelope(recipient)
    large = b"x" * 998 + b"\r\n"
    wire.raw(b"BDAT 60000\r\n" + large * 60 + b"BDAT 60000\r\n" + large * 60)
    wire.raw(b"BDAT 10\r\nQUIT\r\nQUITBDAT 0 LAST\r\nRSET\r\n")
    assert wire.reply().code == 250
    reply = wire.reply()
    assert (reply.code, reply.enhanced) == (552, "5.3.4")
    assert wire.replies(2) == [MAIL_FIRST, MAIL_FIRST]
    assert wire.reply().code == 250
    before = tight.memory()
    wire.envelope(recipient)
    wire.send("BDAT 30000000 LAST")
    for _ in range(30):
        wire.raw(large * 1000)
    assert wire.reply().code == 552
    assert tight.memory() - before < 4 << 20
    assert wire.deliver(recipient).code == 250


@row("bdat-03")
def test_bdat_03_order(plain, someone):
    wire, recipient = plain.connect(), someone()
    wire.raw(b"BDAT 6 LAST\r\nQUIT\r\n")
    assert wire.reply() == MAIL_FIRST
    wire.ask("MAIL FROM:<a@remote.test>")
    wire.raw(b"BDAT 6\r\nQUIT\r\n")
    assert wire.reply().code == 503
    wire.envelope(recipient)
    wire.raw(b"BDAT 10\r\nLost: yes\n")
    assert wire.reply().code == 550
    wire.envelope(recipient)
    wire.raw(b"BDAT 11\r\nLost: yes\r\n")
    assert wire.reply().code == 250
    assert wire.ask("DATA").code == 503
    assert wire.ask("RSET").code == 250
    wire.envelope(recipient)
    wire.raw(b"BDAT 11 LAST\r\nKept: yes\r\n")
    assert wire.reply().code == 250
    assert wire.ask("BDAT 0 LAST") == MAIL_FIRST
    assert plain.hop.handed(recipient).original == b"Kept: yes\r\n"


@row("bdat-04")
@pytest.mark.parametrize(
    "size", ["", " ", " -1", " +1", " x", " 1 FIRST", " 1 LAST LAST", " 18446744073709551616", " " + "9" * 100]
)
def test_bdat_04_a_bad_size_ends_the_session(plain, someone, size):
    wire, recipient = plain.connect(), someone()
    wire.envelope(recipient)
    wire.send(f"BDAT{size}", "RSET", "MAIL FROM:<smuggled@remote.test>", f"RCPT TO:<{recipient}>", "DATA")
    replies = wire.replies(2)
    assert [(reply.code, reply.enhanced) for reply in replies] == [(501, "5.5.4"), (421, "4.5.0")]
    assert wire.closed()


@row("bdat-04")
def test_bdat_04_the_greatest_size_is_a_size(tight):
    wire = tight.connect()
    wire.envelope("alice@example.test")
    wire.raw(b"BDAT 18446744073709551615\r\n" + b"QUIT\r\n" * 1000)
    assert wire.silent(0.2), "its octets are awaited"


@row("bdat-06")
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_bdat_06_octets_are_no_commands_however_they_are_cut(plain, someone, piece):
    wire, recipient = plain.connect(), someone()
    commands = b"RSET\r\nMAIL FROM:<smuggled@remote.test>\r\n\r\n.\r\nQUIT\r\n"
    content = b"A: b\r\n\r\n" + commands
    stream = b"MAIL FROM:<a@remote.test>\r\nRCPT TO:<%s>\r\nBDAT 8\r\n%sBDAT %d LAST\r\n%sNOOP\r\n" % (
        recipient.encode(), content[:8], len(commands), commands
    )  # fmt: skip
    for at in range(0, len(stream), piece):
        wire.raw(stream[at : at + piece])
    assert wire.codes(5) == [250] * 5
    handed = plain.hop.handed(recipient)
    assert (handed.sender, handed.original) == ("a@remote.test", content)
    assert wire.ask("QUIT").code == 221


@row("bdat-05")
def test_bdat_05_binary_only_by_bdat_and_only_where_the_next_hop_takes_it(plain, someone):
    first, recipient, later = someone(), someone(), someone()
    content = b"A: b\r\n\r\n" + bytes(range(256)) * 5 + b"\r\n.\r\n\n\r"
    with plain.offered(BINARY, later):
        assert plain.connect().deliver(first).code == 250
        plain.hop.handed(first)
        wire = plain.connect(hello="")
        assert {"CHUNKING", "BINARYMIME"} <= set(wire.ask("EHLO client.test").lines)
        wire.envelope(recipient, parameters=" BODY=BINARYMIME")
        assert wire.ask("DATA").code == 503
        stream, sent = chunks(content, 7)
        wire.raw(stream)
        assert wire.codes(sent) == [250] * sent
        handed = plain.hop.handed(recipient)
        assert "BODY=BINARYMIME" in handed.mail
        assert handed.original == content
    # It does not say so any more.
    wire = plain.connect(hello="")
    assert "BINARYMIME" not in wire.ask("EHLO client.test").lines
    assert wire.ask("MAIL FROM:<a@remote.test> BODY=BINARYMIME").code == 501


@row("bdat-05")
def test_bdat_05_what_was_accepted_and_cannot_go_on_is_returned(plain, someone):
    first, sender, recipient = someone(), someone(), someone()
    with plain.offered(BINARY, someone()):
        assert plain.connect().deliver(first).code == 250
        plain.hop.handed(first)
        wire = plain.connect()
        wire.envelope(recipient, sender=sender, parameters=" BODY=BINARYMIME")
        with plain.hop.script(EHLO=TEXT):
            stream, sent = chunks(b"A: b\r\n\r\n\0\n", 1)
            wire.raw(stream)
            assert wire.codes(sent) == [250]
            assert b"5.6.3" in plain.hop.handed(sender).content
    assert not plain.hop.to(recipient)


@row("bdat-05")
def test_bdat_05_text_goes_on_by_bdat_where_it_is_offered(plain, someone):
    small, large = someone(), someone()
    wire = plain.connect()
    with plain.offered(TEXT, someone()):
        for recipient, octets in ((small, b"A: b\r\n\r\n.\r\n"), (large, b"A: b\r\n\r\n" + b".\r\n" * 700_000)):
            wire.envelope(recipient)
            stream, sent = chunks(octets, 1)
            wire.raw(stream)
            assert wire.codes(sent) == [250]
            handed = plain.hop.handed(recipient)
            assert handed.original == octets
            assert len(handed.chunks) == -(-(len(octets) - 8) // (1 << 20))
