"""RFC 5321: session and commands."""

from __future__ import annotations

import socket
import time

import pytest

from mailmoat.settings import Settings

row = pytest.mark.row

RELAY = "someone@remote.test"


@row("5321-01")
def test_5321_01_greeting_names_the_server(plain):
    reply = plain.wire().reply()
    assert reply.code == 220
    assert all(line.split()[0] == "mx.example.test" for line in reply.lines)


@row("5321-01")
def test_5321_01_a_refusing_greeting_is_421_and_the_end(tight):
    crowd = [tight.proxied("198.51.100.1") for _ in range(31)]
    replies = [wire.reply() for wire in crowd]
    assert [reply.code for reply in replies] == [220] * 30 + [421]
    assert replies[-1].lines[0].split()[0] == "mx.example.test"
    assert crowd[-1].closed()


@row("5321-02")
def test_5321_02_ehlo_offers_a_keyword_a_line_and_helo_nothing(plain):
    wire = plain.connect(hello="")
    reply = wire.ask("EHLO client.test")
    assert reply.code == 250
    assert len(reply.lines) > 1
    assert reply.lines[0].split()[0] == "mx.example.test"
    keywords = [line.split()[0] for line in reply.lines[1:]]
    assert len(set(keywords)) == len(keywords)
    assert all(keyword.replace("-", "").isalnum() for keyword in keywords)
    reply = wire.ask("HELO client.test")
    assert reply.code == 250
    assert len(reply.lines) == 1
    assert not set(keywords) & set(reply.text.split())
    assert wire.deliver("alice@example.test").code == 250


@row("5321-03")
@pytest.mark.parametrize("hello", ["EHLO again.test", "HELO again.test"])
def test_5321_03_a_second_hello_resets_the_transaction(plain, hello):
    wire = plain.connect()
    wire.envelope("alice@example.test")
    assert wire.ask(hello).code == 250
    assert wire.ask("RCPT TO:<bob@example.test>").code == 503
    assert wire.ask("DATA").code == 503
    assert wire.deliver("alice@example.test").code == 250


@row("5321-04")
@pytest.mark.parametrize("verb", ["EHLO", "HELO"])
def test_5321_04_a_hello_needs_a_name_and_any_name_will_do(plain, someone, verb):
    wire = plain.connect(hello="")
    assert wire.ask(verb).code == 501
    assert wire.ask(f"{verb} ").code == 501
    for name in (
        "mx.example.test", "localhost", "x", "[203.0.113.9]", "no-such-host.invalid", "[::1]", "PC-", "-a.b-", "my_pc",
    ):  # fmt: skip
        assert wire.ask(f"{verb} {name}").code == 250
        recipient = someone()
        assert wire.deliver(recipient).code == 250
        assert plain.hop.handed(recipient).content.startswith(f"Received: from {name} ([".encode())


@row("5321-05")
@pytest.mark.parametrize("name", ["client.test", "a.b-c.d1.test", "[192.0.2.1]", "[IPv6:2001:db8::1]", "[IPv6:::1]"])
def test_5321_05_ehlo_takes_domains_and_literals(plain, name):
    assert plain.connect(hello="").ask(f"EHLO {name}").code == 250


@row("5321-06")
def test_5321_06_verbs_and_keywords_have_no_case(plain, someone):
    wire = plain.connect(hello="")
    recipient = someone()
    for line, code in (
        ("eHlO client.test", 250), ("mAiL fRoM:<a@remote.test> sIzE=100 bOdY=8bItMiMe", 250), (f"rCpT tO:<{recipient}>", 250),
        ("nOoP", 250), ("dAtA", 354), ("Subject: x\r\n\r\nx\r\n.", 250), ("rSeT", 250), ("vRfY x", 252), ("qUiT", 221),
    ):  # fmt: skip
        assert wire.ask(line).code == code, line


@row("5321-06")
@pytest.mark.parametrize(
    "local",
    [
        "MiXeD.Case",
        "a!b%c",
        "x+y=z",
        "try..this",
        ".first",
        "last.",
        '"try..this"',
        "#$&'*/?^_`{|}~-",
        '"a b"',
        '"a\\"b"',
        '"@"',
        '"x@y.test"',
        "0",
    ],
)
def test_5321_06_local_parts_stay_as_they_are(plain, someone, local):
    wire, other = plain.connect(), someone()
    assert wire.ask(f"MAIL FROM:<{local}@Remote.Test>").code == 250
    assert wire.ask(f"RCPT TO:<{local}@ALL.example.test>", f"RCPT TO:<{other}>").code == 250
    assert wire.content(b"\r\n").code == 250
    handed = plain.hop.handed(other)
    assert handed.recipients == [f"{local}@all.example.test", other]
    assert handed.mail.startswith(f"MAIL FROM:<{local}@remote.test>")


@row("5321-07")
def test_5321_07_the_minimum_is_implemented(plain):
    for hello in ("EHLO client.test", "HELO client.test"):
        wire = plain.connect(hello=hello)
        script = [("NOOP", 250), ("VRFY alice", 252), ("RSET", 250), ("MAIL FROM:<a@remote.test>", 250)]
        script += [("RCPT TO:<alice@example.test>", 250), ("DATA", 354), (".", 250), ("QUIT", 221)]
        for line, code in script:
            assert wire.ask(line).code == code, line


@row("5321-08")
@pytest.mark.parametrize(
    ("codes", "lines"),
    [
        ({500}, ["FOO", "MAILFROM:<a@b.test>", "X-THING yes", "DATA.", ""]),
        ({502}, ["AUTH PLAIN", "TURN", "ETRN x.test", "SEND FROM:<a@b.test>", "SOML FROM:<a@b.test>", "SAML FROM:<a@b.test>"]),
        ({503}, ["RCPT TO:<alice@example.test>", "DATA"]),
        ({501}, ["EHLO", "HELO a b", "MAIL", "MAIL FROM", "MAIL FROM:", "MAIL TO:<a@b.test>", "MAIL FROM:<a@b", "VRFY", "DATA now", "QUIT x"]),
        ({555}, ["MAIL FROM:<a@b.test> NOSUCH", "MAIL FROM:<a@b.test> NOSUCH=1", "MAIL FROM:<a@b.test> NOTIFY=NEVER"]),
        ({501, 504, 555}, ["MAIL FROM:<a@b.test> SIZE=x", "MAIL FROM:<a@b.test> SIZE", "MAIL FROM:<a@b.test> BODY=9BIT"]),
    ],
)  # fmt: skip
def test_5321_08_codes(plain, codes, lines):
    wire = plain.connect()
    for line in lines:
        assert wire.ask(line).code in codes, line
    assert wire.ask("MAIL FROM:<a@remote.test>").code == 250
    if codes == {555}:
        assert wire.ask("RCPT TO:<alice@example.test> NOSUCH=1").code == 555


@row("5321-09")
def test_5321_09_out_of_order(plain):
    wire = plain.connect(hello="")
    assert wire.ask("MAIL FROM:<a@remote.test>").code == 503, "before hello"
    wire.ask("EHLO client.test")
    assert wire.ask("RCPT TO:<alice@example.test>").code == 503
    assert wire.ask("DATA").code == 503
    assert wire.ask("MAIL FROM:<a@remote.test>").code == 250
    assert wire.ask("MAIL FROM:<b@remote.test>").code == 503
    assert wire.ask("DATA").code in (503, 554)
    assert wire.ask("RCPT TO:<nobody@example.test>").code == 550
    assert wire.ask("DATA").code in (503, 554)
    assert wire.ask("RCPT TO:<alice@example.test>").code == 250
    assert wire.ask("MAIL FROM:<b@remote.test>").code == 503
    assert wire.content(b"\r\n").code == 250


@row("5321-10")
def test_5321_10_rset(plain):
    wire = plain.connect(hello="")
    assert wire.ask("RSET").code == 250
    assert wire.ask("MAIL FROM:<a@remote.test>").code == 503, "RSET is no hello"
    wire.ask("EHLO client.test")
    for prepare in ([], ["MAIL FROM:<a@remote.test>"], ["MAIL FROM:<a@remote.test>", "RCPT TO:<alice@example.test>"]):
        for line in prepare:
            assert wire.ask(line).code == 250
        assert wire.ask("RSET").code == 250
        assert wire.ask("DATA").code == 503
    for _ in range(50):
        assert wire.ask("RSET").code == 250
    assert wire.deliver("alice@example.test").code == 250, "the hello still counts"


@row("5321-11")
def test_5321_11_commands_for_any_time(plain, someone):
    wire, recipient = plain.connect(hello=""), someone()
    asides = [("NOOP", 250), ("NOOP anything <at> all", 250), ("HELP", 214), ("HELP MAIL", 214), ("VRFY alice", 252)]

    def disturb():
        for line, code in asides:
            assert wire.ask(line).code == code, line
        assert wire.ask("EXPN list").code in (252, 502, 550)

    for line in ("EHLO client.test", "MAIL FROM:<s11@remote.test>", f"RCPT TO:<{recipient}>"):
        disturb()
        assert wire.ask(line).code == 250
    disturb()
    assert wire.content(b"\r\n").code == 250
    assert plain.hop.handed(recipient).sender == "s11@remote.test"


@row("5321-12")
def test_5321_12_the_client_ends_the_session(plain):
    wire = plain.connect()
    assert wire.deliver("alice@example.test").code == 250
    for line in ("FOO", "MAIL FROM:<", "RSET"):
        wire.ask(line)
    assert wire.silent(0.3)
    assert wire.ask("NOOP").code == 250
    assert wire.ask("QUIT").code == 221
    assert wire.closed()
    early = plain.connect(hello="")
    assert early.ask("QUIT").code == 221
    assert early.closed()


@row("5321-12")
@pytest.mark.parametrize(("last", "code"), [("QUIT", 221), ("NOOP", 250), ("EXPN x", 502)])
def test_5321_12_a_client_that_has_closed_its_sending_side_gets_its_replies(plain, last, code):
    wire = plain.connect()
    wire.envelope("alice@example.test")
    assert wire.ask("DATA").code == 354
    wire.send("Subject: x", "", "x", ".", last)
    wire.socket.shutdown(socket.SHUT_WR)
    assert wire.codes(2) == [250, code]
    assert wire.closed()


@row("5321-13")
@pytest.mark.parametrize("left", [b"", b"MAIL FROM:<a@remote.test>\r\n", b"DATA"])
def test_5321_13_vanishing_ends_the_open_transaction_alone(plain, someone, left):
    wire, kept, lost = plain.connect(), someone(), someone()
    assert wire.deliver(kept).code == 250
    if left == b"DATA":
        wire.envelope(lost)
        assert wire.ask("DATA").code == 354
        left = b"Subject: half\r\n\r\nhalf a mes"
    wire.raw(left)
    wire.close()
    assert plain.hop.handed(kept)
    later = someone()
    assert plain.connect().deliver(later).code == 250
    assert plain.hop.handed(later)
    assert not plain.hop.to(lost)


@row("5321-14")
def test_5321_14_vrfy_and_expn_tell_nothing(plain):
    wire = plain.connect()
    for verb, codes in (("VRFY", {252, 502}), ("EXPN", {252, 502, 550})):
        replies = {
            wire.ask(f"{verb} {who}") for who in ("alice", "alice@example.test", "nobody@example.test", RELAY, "é")
        }
        assert len(replies) == 1
        assert replies.pop().code in codes


@row("5321-15")
@pytest.mark.parametrize(
    "domain", ["", "@example.test", "@EXAMPLE.test", "@all.example.test", "@bücher.test", "@relayed.test"]
)
def test_5321_15_postmaster(plain, domain):
    wire = plain.connect()
    for local in ("Postmaster", "postmaster", "POSTMASTER", "pOsTmAsTeR"):
        wire.envelope(f"{local}{domain}")
        assert wire.content(b"Subject: " + local.encode() + b"\r\n\r\n").code == 250
    # RFC 5321 4.5.1: a domain of our own, when none is given.
    at = domain.lower().replace("bücher", "xn--bcher-kva") or "@example.test"
    plain.hop.handed(f"POSTMASTER{at}")


@row("5321-16")
def test_5321_16_null_reverse_path(plain, someone):
    wire, recipient = plain.connect(), someone()
    assert wire.deliver(recipient, sender="").code == 250
    assert plain.hop.handed(recipient).mail.startswith("MAIL FROM:<>")


@row("5321-17")
def test_5321_17_source_routes_are_dropped(plain, someone):
    wire, recipient = plain.connect(), someone()
    assert wire.ask(f"MAIL FROM:<@a.test,@b.test:{RELAY}>", f"RCPT TO:<@c.test,@d.test:{recipient}>").code == 250
    refused = wire.ask(f"RCPT TO:<@example.test,@all.example.test:{RELAY}>")
    assert refused.code in (550, 554)
    assert refused.enhanced == "5.7.1"
    assert wire.content(b"\r\n").code == 250
    assert plain.hop.handed(recipient).sender == RELAY


@row("5321-18")
def test_5321_18_replies_are_well_formed_whatever_is_said(plain):
    wire = plain.connect()  # wire.reply() checks each
    long = "x" * 300
    for line in (
        b"\xff\xfe\x00", b"\x01" * 50, b"EHLO \xc3\xa9", b"HELO " + b"\xff" * 200, b"EHLO " + b"x." * 120 + b"x", b"A" * 5000,
        b"EHLO client.test", f"MAIL FROM:<{long}@x.test>", "MAIL FROM:<é@x.test>", 'MAIL FROM:<"\r"@x.test>',
        "MAIL FROM:<jörg@bücher.test> SMTPUTF8", "RCPT TO:<jörg@bücher.test>", f"RCPT TO:<jörg@{'ü' * 40}.test>",
        "RCPT TO:<" + "@hop.test," * 20 + ":a@remote.test>", "VRFY é", "NOOP \x7f", "HELP é", "BDAT 0 LAST",
    ):  # fmt: skip
        wire.ask(line)
    assert wire.ask("NOOP").code == 250


@row("5321-19")
def test_5321_19_replies_come_before_clients_give_up(plain, tarpit):
    # Every reply comes: a test that waits for one in vain ends by its timeout.
    for site in (plain, tarpit):
        wire = site.wire()
        wire.reply()
        for line in (
            "EHLO client.test",
            "MAIL FROM:<a@remote.test>",
            "RCPT TO:<nobody@example.test>",
            "RCPT TO:<alice@example.test>",
            "DATA",
            ".",
        ):
            wire.ask(line)
    # What the set time can be at most, and the sum in one session unless it is set otherwise.
    refused = tarpit.server.cli("settings", "--json")
    assert refused.returncode == 0
    tarpit.server.environment["MAILMOAT_TARPIT__TIME"] = "300"
    try:
        assert tarpit.server.cli("settings").returncode != 0
    finally:
        tarpit.server.environment["MAILMOAT_TARPIT__TIME"] = "0.4"
    assert 0 < Settings().tarpit.max_session < 300


@row("5321-20")
def test_5321_20_silence_ends_in_421(tight):
    begun = time.monotonic()
    wire = tight.connect()
    reply = wire.reply()
    assert reply.code == 421
    assert reply.lines[0].split()[1] == "mx.example.test"
    assert time.monotonic() - begun >= 1
    assert wire.closed()
    assert Settings().limits.command_time >= 300


@row("5321-20")
def test_5321_20_each_command_begins_the_time_anew(tight):
    wire = tight.connect()
    for _ in range(3):
        assert wire.silent(0.6)
        assert wire.ask("NOOP").code == 250


def route(length: int, mailbox: str) -> str:
    """A path of so many octets, brackets included, that a source route fills up."""
    rest = length - len(f"<@:{mailbox}>")
    labels = []
    while rest > 0:
        size = min(63, rest)
        if rest - size == 1:
            size -= 1
        labels.append("r" * size)
        rest -= size + 1
    path = f"<@{'.'.join(labels)}:{mailbox}>"
    assert len(path) == length
    return path


@row("5321-21")
def test_5321_21_sizes_that_must_be_taken(plain):
    wire = plain.connect(hello="")
    labels = ".".join(["d" * 63] * 4)
    assert len(labels) == 255
    assert wire.ask(f"EHLO {labels}").code == 250
    for octets in (512, 2048):
        assert wire.ask("NOOP " + "x" * (octets - len("NOOP \r\n"))).code == 250
    local = "L" * 64
    domain = labels[: 256 - len(f"<{local}@>")]
    sender = f"<{local}@{domain}>"
    assert len(sender) == 256
    assert wire.ask(f"MAIL FROM:{sender} SIZE=12345678901234567890 BODY=8BITMIME").code == 552, "well-formed, but large"
    assert wire.ask(f"MAIL FROM:{sender} SIZE=1000 BODY=8BITMIME SMTPUTF8").code == 250
    assert wire.ask(f"RCPT TO:{route(256, 'alice@example.test')}").code == 250
    assert wire.ask(f"RCPT TO:<{local}@all.example.test>").code == 250
    line = b"t" * 998 + b"\r\n"
    dotted = b"." + b"d" * 997 + b"\r\n"  # 1001 octets with the dot that is added for transparency
    assert wire.content(b"Subject: x\r\n\r\n" + line + b"." + dotted).code == 250
    handed = plain.hop.handed(f"{local}@all.example.test")
    assert handed.original == b"Subject: x\r\n\r\n" + line + dotted
    assert handed.sender == sender.strip("<>")


@row("5321-21")
def test_5321_21_longer_local_parts_are_taken(plain):
    """SRS, VERP and the bounce addresses of large senders."""
    wire = plain.connect()
    sender, recipient = "S" * 256 + "@" + ".".join(["d" * 63] * 4), "r" * 256 + "@all.example.test"
    assert wire.ask(f"MAIL FROM:<{sender}> SIZE=1000 BODY=8BITMIME SMTPUTF8").code == 250
    assert wire.ask(f"RCPT TO:<{recipient}>").code == 250
    assert wire.content(b"\r\n").code == 250
    assert plain.hop.handed(recipient).sender == sender


@row("5321-22")
@pytest.mark.parametrize("size", [3000, 3072, 4096, 65_536, 300_000])
def test_5321_22_longer_commands_are_one_refusal_each(plain, size):
    wire = plain.connect()
    for start in ("NOOP ", "MAIL FROM:<a@remote.test> ", "RCPT TO:<", "", "QUIT "):
        filler = ("RSET QUIT " * size)[: size - len(start)]
        wire.send(start + filler, "NOOP")
        assert wire.reply().code in (500, 501, 552), start
        assert wire.reply().code == 250
    assert wire.deliver("alice@example.test").code == 250


@row("5321-22")
def test_5321_22_longer_parts_of_an_address_are_refused(plain):
    wire = plain.connect()
    label = "d" * 63
    assert wire.ask(f"MAIL FROM:<{'L' * 257}@remote.test>").code in (501, 552, 553)
    assert wire.ask(f"MAIL FROM:<a@{'.'.join([label] * 4)}.x>").code in (501, 552, 553)
    assert wire.ask(f"MAIL FROM:{route(515, RELAY)}").code in (501, 552, 553)
    assert wire.ask("MAIL FROM:<a@remote.test>").code == 250
    assert wire.ask(f"RCPT TO:<{'L' * 257}@all.example.test>").code in (501, 550, 553)
    assert wire.ask(f"RCPT TO:{route(515, 'alice@example.test')}").code in (501, 550, 553)
    assert wire.ask("RCPT TO:<alice@example.test>").code == 250


@row("5321-23")
def test_5321_23_a_hundred_recipients(plain, someone):
    wire = plain.connect()
    recipients = [someone() for _ in range(100)]
    assert wire.ask("MAIL FROM:<a@remote.test>").code == 250
    for recipient in recipients:
        assert wire.ask(f"RCPT TO:<{recipient}>").code == 250
    extra = someone()
    reply = wire.ask(f"RCPT TO:<{extra}>")
    assert (reply.code, reply.enhanced) == (452, "4.5.3")
    assert wire.content(b"\r\n").code == 250
    assert plain.hop.handed(recipients[0]).recipients == recipients
    assert not plain.hop.to(extra)


@row("5321-24")
def test_5321_24_sizes_of_messages(plain, tight, someone):
    recipient, body = someone(), (b"0123456789" * 6 + b"\r\n") * 1100
    assert len(body) > 65_536
    assert plain.connect().deliver(recipient, b"Subject: x\r\n\r\n" + body).code == 250
    assert plain.hop.handed(recipient).original == b"Subject: x\r\n\r\n" + body
    wire = tight.connect()
    assert wire.deliver(recipient, b"Subject: x\r\n\r\n" + body).code == 250, "64 KiB within the limit of 100,000"
    reply = wire.deliver(recipient, body * 2)
    assert (reply.code, reply.enhanced) == (552, "5.3.4")
    assert wire.ask("NOOP").code == 250
