"""SIZE (RFC 1870), 8BITMIME (RFC 6152), PIPELINING (RFC 2920), ENHANCEDSTATUSCODES (RFC 2034, 3463)."""

from __future__ import annotations

import signal

import pytest
from tests.doubles.client import ENHANCED
from tests.doubles.next_hop import OFFERS

row = pytest.mark.row

MEGABYTE = 1 << 20


@row("size-01")
def test_size_01_size_is_announced_and_judged_at_mail(plain, tight):
    for site in (plain, tight):
        wire = site.connect(hello="")
        announced = next(line.split() for line in wire.ask("EHLO client.test").lines if line.startswith("SIZE"))
        limit = int(announced[1])
        reply = wire.ask(f"MAIL FROM:<a@remote.test> SIZE={limit + 1}")
        assert (reply.code, reply.enhanced) == (552, "5.3.4")
        for value in ("SIZE=", "SIZE=x", "SIZE=-1"):
            assert wire.ask(f"MAIL FROM:<a@remote.test> {value}").code == 501, value
        assert wire.ask(f"MAIL FROM:<a@remote.test> SIZE={limit}").code == 250
    assert limit == 100_000


@row("size-02")
def test_size_02_the_true_size_decides(tight, someone):
    wire, recipient = tight.connect(), someone()
    wire.deliver(recipient)
    before = tight.memory()
    for declared in ("", " SIZE=10"):
        wire.envelope("alice@example.test", parameters=declared)
        assert wire.ask("DATA").code == 354
        line = b"z" * 98 + b"\r\n"
        for _ in range(30):
            wire.raw(line * (MEGABYTE // 100))
        wire.raw(b".\r\n")
        reply = wire.reply()
        assert (reply.code, reply.enhanced) == (552, "5.3.4")
    assert tight.memory() - before < 4 * MEGABYTE
    exact = line * 1000
    assert wire.deliver(recipient, exact).code == 250, "exactly the limit"
    assert wire.deliver(recipient, exact + b"\r\n").code == 552


@row("8bit-01")
@pytest.mark.parametrize("body", ["7BIT", "8BITMIME", "8bitmime", ""])
def test_8bit_01_both_bodies_are_taken(plain, someone, body):
    wire, recipient = plain.connect(hello=""), someone()
    assert "8BITMIME" in wire.ask("EHLO client.test").lines
    content = b"Subject: x\r\n\r\n" + (b"seven\r\n" if body == "7BIT" else bytes(range(128, 256)) + b"\r\n")
    assert wire.deliver(recipient, content, parameters=f" BODY={body}" if body else "").code == 250
    handed = plain.hop.handed(recipient)
    assert handed.original == content
    assert ("BODY=8BITMIME" in handed.mail) == (body != "7BIT")


@row("8bit-01")
def test_8bit_01_nothing_is_stripped_for_a_seven_bit_host(plain, someone):
    recipient, seven, sender = someone(), someone(), someone()
    with plain.offered(OFFERS.replace("250-8BITMIME\n", ""), someone()):
        wire = plain.connect()
        assert (
            wire.deliver(
                recipient, "Subject: x\r\n\r\nzażółć\r\n".encode(), sender=sender, parameters=" BODY=8BITMIME"
            ).code
            == 250
        )
        assert wire.deliver(seven, b"Subject: x\r\n\r\nx\r\n", parameters=" BODY=8BITMIME").code == 250
        assert plain.hop.handed(seven), "what needs no 8BITMIME goes on"
        text = plain.hop.handed(sender).content
    assert b"5.6.3" in text
    assert text.isascii(), "the report itself can pass there"
    assert not plain.hop.to(recipient)


@row("8bit-01", "size-01", "utf8-01")
def test_8bit_01_size_01_utf8_01_what_the_next_hop_lacks_is_not_offered(plain, someone):
    first, recipient = someone(), someone()
    with plain.offered("250-hop.test\n250 SIZE 50000", someone()):
        assert plain.connect().deliver(first).code == 250
        plain.hop.handed(first)
        wire = plain.connect(hello="")
        lines = wire.ask("EHLO client.test").lines
        [size] = [int(line.split()[1]) for line in lines if line.startswith("SIZE ")]
        assert 40_000 < size < 50_000, "room for our own fields"
        assert not {"8BITMIME", "SMTPUTF8"} & set(lines)
        for parameter, code in (("SMTPUTF8", 555), ("BODY=8BITMIME", 555), (f"SIZE={size + 1}", 552)):
            assert wire.ask(f"MAIL FROM:<a@remote.test> {parameter}").code == code
        reply = wire.deliver(recipient, "Subject: x\r\n\r\nzażółć\r\n".encode())
        assert (reply.code, reply.enhanced) == (554, "5.6.3")
        assert wire.deliver(recipient, b"Subject: x\r\n\r\n" + b"x\r\n" * (size // 3)).code == 552
    assert not plain.hop.to(recipient)


DIALOGUE = (
    "NOOP", "EHLO client.test", "FOO", "MAIL FROM:<a@remote.test>", "RCPT TO:<nobody@example.test>", "MAIL FROM:<", "RCPT TO:<alice@example.test>",
    "RCPT TO:<x@remote.test>", "VRFY x", "RCPT TO:<bob@example.test>", "RSET", "MAIL FROM:<> SIZE=10", "RCPT TO:<bob@example.test>", "NOOP", "QUIT",
)  # fmt: skip


@row("pipe-01", "pipe-02")
@pytest.mark.parametrize("size", [0, 1, 2, 7, 50])
def test_pipe_01_02_a_batch_gets_the_replies_of_one_by_one(plain, size):
    wire = plain.connect(hello="")
    expected = [wire.ask(line) for line in DIALOGUE]
    assert len({reply.code for reply in expected}) > 4
    batch = plain.connect(hello="")
    stream = "".join(f"{line}\r\n" for line in DIALOGUE).encode()
    for at in range(0, len(stream), size or len(stream)):
        batch.raw(stream[at : at + (size or len(stream))])
    assert batch.replies(len(DIALOGUE)) == expected
    assert batch.closed()


@row("pipe-01")
def test_pipe_01_messages_in_batches(plain, someone):
    recipients, wire = [someone() for _ in range(5)], plain.connect()
    for recipient in recipients:
        wire.send("MAIL FROM:<a@remote.test>", f"RCPT TO:<{recipient}>", "DATA")
        assert wire.codes(3) == [250, 250, 354]
        wire.send("Subject: x", "", "x", ".", "RSET", "NOOP")
        assert wire.codes(3) == [250, 250, 250]
    for recipient in recipients:
        assert plain.hop.handed(recipient).original == b"Subject: x\r\n\r\nx\r\n"


@row("pipe-02")
def test_pipe_02_some_recipients_of_a_batch(plain, someone):
    wire, recipient = plain.connect(), someone()
    wire.send(
        "MAIL FROM:<a@remote.test>", "RCPT TO:<nobody@example.test>", f"RCPT TO:<{recipient}>", "RCPT TO:<", "DATA"
    )
    assert wire.codes(5) == [250, 550, 250, 501, 354]
    wire.send("", ".")
    assert wire.reply().code == 250
    assert plain.hop.handed(recipient).recipients == [recipient]


@row("pipe-03")
def test_pipe_03_a_batch_without_one_good_recipient(plain):
    wire = plain.connect()
    wire.send("MAIL FROM:<a@remote.test>", "RCPT TO:<nobody@example.test>", "RCPT TO:<x@remote.test>", "DATA")
    codes = wire.codes(4)
    assert codes[:3] == [250, 550, 550]
    assert codes[3] in (503, 554)
    assert wire.ask("RCPT TO:<alice@example.test>").code == 250, "the transaction is still open"
    assert wire.content(b"\r\n").code == 250


@row("pipe-04")
def test_pipe_04_replies_leave_together(plain):
    wire = plain.connect()
    wire.send(
        "MAIL FROM:<a@remote.test>", *["RCPT TO:<alice@example.test>"] * 10, "RCPT TO:<nobody@example.test>", "NOOP"
    )
    first = wire.socket.recv(65536)
    assert first.count(b"\r\n") == 13


@row("pipe-05")
@pytest.mark.parametrize("hello", ["EHLO client.test", "HELO client.test"])
def test_pipe_05_early_talkers(plain, someone, hello):
    recipient = someone()
    wire = plain.wire()
    wire.send(hello, "MAIL FROM:<a@remote.test>", f"RCPT TO:<{recipient}>", "NOOP", "QUIT")
    codes = [wire.reply().code]
    while codes[-1] not in (221, 554, 421):
        codes.append(wire.reply().code)
    assert codes in ([220, 250, 250, 250, 250, 221], [554], [220, 554], [220, 503, 421])
    assert wire.closed()


EVERYTHING = (
    "NOOP", "HELP", "RSET", "VRFY x", "EXPN x", "FOO", "STARTTLS x", "AUTH PLAIN", "BDAT 0", "MAIL FROM:<", "MAIL FROM:<a@b.test> X=1",
    "MAIL FROM:<a@b.test> SIZE=x", "MAIL FROM:<é@b.test>", "MAIL FROM:<a@b.test> SIZE=999999999999", "RCPT TO:<a@b.test>", "DATA", "DATA x",
    "NOOP " + "x" * 2100, "MAIL FROM:<a@b.test>", "MAIL FROM:<a@b.test>", "DATA", "RCPT TO:<>", "RCPT TO:<nobody@example.test>",
    "RCPT TO:<x@remote.test>", "RCPT TO:<é@example.test>", "RCPT TO:<alice@example.test>", "DATA", "bare\nlf\r\n.", "NOOP\nNOOP",
)  # fmt: skip


@row("enh-01", "enh-02")
def test_enh_01_02_codes_stand_where_they_belong(plain):
    wire = plain.wire()
    assert not wire.reply().enhanced, "greeting"
    for hello in ("EHLO", "HELO", "EHLO é", "HELO a b", "HELO client.test", "EHLO client.test"):
        assert not any(ENHANCED.match(line) for line in wire.ask(hello).lines), hello
    for line in EVERYTHING:
        wire.send(line)
        for reply in wire.replies(2 if line == "NOOP\nNOOP" else 1):
            if reply.code == 354:
                assert not reply.enhanced
                continue
            for text in reply.lines:
                found = ENHANCED.match(text)
                assert found, (line, reply)
                assert found[1] == str(reply.code)[0], (line, reply)
    assert wire.ask("QUIT").enhanced.startswith("2.")


@row("enh-01")
def test_enh_01_a_refusing_greeting_has_none(tight):
    crowd = [tight.proxied("198.51.100.2") for _ in range(31)]
    reply = [wire.reply() for wire in crowd][-1]
    assert (reply.code, reply.enhanced) == (421, "")


@row("enh-03")
@pytest.mark.parametrize(
    ("expected", "lines"),
    [
        ({"5.1.1"}, ["MAIL FROM:<a@b.test>", "RCPT TO:<nobody@example.test>"]),
        ({"5.1.3"}, ["MAIL FROM:<a@b.test>", "RCPT TO:<a@b@example.test>"]),
        ({"5.1.7"}, ["MAIL FROM:<a@b"]),
        ({"5.3.4"}, ["MAIL FROM:<a@b.test> SIZE=99999999999"]),
        ({"5.5.1"}, ["DATA"]),
        ({"5.5.4"}, ["STARTTLS x"]),
        ({"5.5.1", "5.5.2"}, ["FOO"]),
        ({"5.5.2"}, ["NOOP " + "x" * 2100]),
        ({"5.5.4"}, ["MAIL FROM:<a@b.test> X=1"]),
        ({"5.5.4"}, ["MAIL FROM:<a@b.test> SIZE=x"]),
        ({"5.7.1"}, ["MAIL FROM:<a@b.test>", "RCPT TO:<x@remote.test>"]),
        ({"5.6.7"}, ["MAIL FROM:<é@b.test>"]),
        ({"2.1.0"}, ["MAIL FROM:<a@b.test>"]),
        ({"2.1.5"}, ["MAIL FROM:<a@b.test>", "RCPT TO:<alice@example.test>"]),
        ({"2.6.0", "2.0.0"}, ["MAIL FROM:<a@b.test>", "RCPT TO:<alice@example.test>", "DATA", "."]),
        (
            {"5.4.6"},
            ["MAIL FROM:<a@b.test>", "RCPT TO:<alice@example.test>", "DATA", "Received: x\r\n" * 200 + "\r\n."],
        ),
    ],
)
def test_enh_03_the_right_codes(plain, expected, lines):
    assert plain.connect().ask(*lines).enhanced in expected


@row("enh-03")
def test_enh_03_codes_of_421(fresh, tight):
    wire = tight.connect()
    assert wire.reply().enhanced == "4.4.2"
    site = fresh()
    wire = site.connect()
    site.server.kill(signal.SIGTERM)
    reply = wire.reply()
    assert (reply.code, reply.enhanced) == (421, "4.3.2")
    assert wire.closed()
