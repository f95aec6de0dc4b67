"""Real clients and awkward ones: what they send arrives octet by octet as it was meant, once, and nothing else does."""

from __future__ import annotations

import email
import email.policy
import os
import random
import smtplib
import socket
import subprocess
import time
from email.message import EmailMessage

import pytest

MAIL = "MAIL FROM:<sender@remote.tld>"
KNOWN = "RCPT TO:<alice@example.test>"


def contents(mx, count):
    """Each delivered message below the trace fields that were added to it."""
    mx.until(lambda: len(mx.delivered()) >= count, what=f"{count} messages")
    found = []
    for path in mx.delivered():
        octets = path.read_bytes()
        while octets.startswith((b"Return-Path:", b"Delivered-To:", b"X-Original-To:", b"Received: from")):
            field, _, rest = octets.partition(b"\n")
            while rest[:1] in (b"\t", b" "):
                _, _, rest = rest.partition(b"\n")
            octets = rest
            if field.startswith(b"Received"):
                break
        found.append(octets)
    assert len(found) == count
    return found


def lines(octets):
    """Whatever line end the Maildir has."""
    return octets.replace(b"\r\n", b"\n")


def data(mx, octets):
    """One transaction with these octets after 354, and the replies to them and to NOOP after."""
    client = mx.client()
    assert client.ask(MAIL, KNOWN, "DATA")[:3] == "354"
    client.socket.sendall(octets)
    return client


def test_smtplib(server):
    mx = server()
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "sender@remote.tld", "alice@example.test", "grüße"
    message.set_content("Grüße\n.\n..dots\n" * 20)
    with smtplib.SMTP("127.0.0.1", mx.port) as client:
        assert client.send_message(message) == {}
        assert client.sendmail(
            "", ["bob@example.test", "nobody@example.test"], b"Subject: 8\r\n\r\nGr\xfc\xdfe\r\n", ["BODY=8BITMIME"]
        ).keys() == {"nobody@example.test"}
        client.send_message(message, "jörg@remote.tld", ["Jürgen@all.example.test"])  # says SMTPUTF8 by itself
    found = contents(mx, 3)
    parsed = [email.message_from_bytes(octets, policy=email.policy.default) for octets in found]
    assert [part.get_content() for part in parsed if part["Subject"] == "grüße"] == [message.get_content()] * 2
    assert any(b"Gr\xfc\xdfe" in octets for octets in found)
    whole = b"".join(path.read_bytes() for path in mx.delivered())
    assert b"with UTF8SMTP" in whole
    assert "jörg@remote.tld".encode() in whole


def test_swaks(server, peer):
    mx = server(MAILMOAT_TARPIT__TIME="0.3")
    swaks = [peer("swaks"), "--server", f"127.0.0.1:{mx.port}", "--from", "sender@remote.tld", "--timeout", "10"]
    for extra in ([], ["--pipeline"], ["--protocol", "SMTP"]):
        done = subprocess.run(
            [*swaks, "--to", "alice@example.test", *extra], capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(contents(mx, 3)) == 3
    done = subprocess.run(
        [*swaks, "--to", "nobody@example.test"], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 24
    assert "<** 550 5.1.1 User unknown" in done.stdout


def test_smtp_source_with_new_and_with_reused_connections(server, peer):
    mx = server(MAILMOAT_WORKERS="2")
    source = [
        peer("smtp-source"),
        "-s",
        "10",
        "-m",
        "300",
        "-l",
        "2000",
        "-f",
        "sender@remote.tld",
        "-t",
        "alice@example.test",
    ]
    for extra in ([], ["-d"]):
        subprocess.run([*source, *extra, f"127.0.0.1:{mx.port}"], check=True, timeout=60)
    assert len(contents(mx, 600)) == 600
    assert mx.metric("messages_accepted_total") == 600


def test_a_whole_session_in_one_segment_and_octet_by_octet(server):
    mx = server()
    session = (
        b"EHLO x.tld\r\nMAIL FROM:<sender@remote.tld> SIZE=20\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
        b"Subject: one\r\n\r\n..\r\n.\r\nNOOP\r\nMAIL FROM:<>\r\nRCPT TO:<nobody@example.test>\r\nRCPT TO:<bob@example.test>\r\n"
        b"DATA\r\nSubject: two\r\n\r\n...x\r\n.\r\nRSET\r\nQUIT\r\n"
    )
    expected = ["220", "250", "250", "250", "354", "250", "250", "250", "550", "250", "354", "250", "250", "221", ""]
    client = mx.client(hello="", greeted=False)
    client.socket.sendall(session)
    whole = client.replies(15)
    assert [reply[:3] for reply in whole] == expected
    client = mx.client(hello="", greeted=False)
    for octet in session:
        client.socket.sendall(bytes([octet]))
    pieces = client.replies(15)
    assert [reply[:20] for reply in pieces if "Queued" not in reply] == [
        reply[:20] for reply in whole if "Queued" not in reply
    ]
    found = sorted(lines(octets) for octets in contents(mx, 4))
    assert found == [b"Subject: one\n\n.\n"] * 2 + [b"Subject: two\n\n..x\n"] * 2


def test_five_mebibytes_and_dots_arrive_as_they_were(server):
    mx = server()
    chance = random.Random(5)
    text = b"Subject: large\r\n\r\n"
    alphabet = bytes(octet for octet in range(256) if octet not in b"\r\n")
    parts = (
        b"." * chance.randrange(4) + bytes(chance.choices(alphabet, k=chance.randrange(990))) + b"\r\n"
        for _ in range(5 * 1024 * 1024 // 500)
    )
    content = text + b"".join(parts)
    assert len(content) > 5 * 1024 * 1024 - 200_000
    stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
    client = data(mx, stuffed + b".\r\n")
    assert client.reply()[:9] == "250 2.6.0"
    [found] = contents(mx, 1)
    assert lines(found) == lines(content)
    dots = b"\r\n".join([b"Subject: dots", b"", b".", b"..", b"...", b"", b".x", b" .", b"From x", b"."]) + b"\r\n"
    client = data(mx, (b"\r\n" + dots).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n")
    assert client.reply()[:3] == "250"
    assert lines(dots) in [lines(octets) for octets in contents(mx, 2)]


def test_one_that_vanishes_leaves_nothing_behind(server):
    mx = server(MAILMOAT_LIMITS__MEMORY_CONTENT="1000", MAILMOAT_WORKERS="1")
    spool = mx.directory / "spool"

    def incoming():
        return [
            path
            for path in spool.rglob("*")
            if path.is_file() and path.stat().st_size >= 90_000 and "incoming" in str(path)
        ]

    client = data(mx, b"Subject: x\r\n\r\n" + (b"x" * 98 + b"\r\n") * 1000)
    files = {path for path in spool.rglob("*") if path.is_file()}
    mx.until(incoming, what="a content file while it is received")
    client.close()
    mx.until(lambda: not incoming(), what="its removal")
    mx.until(lambda: mx.metric("connections") == 0, what="end of the connection")
    assert mx.metric("messages_accepted_total") == 0
    assert mx.metric("queue_messages") == 0
    assert mx.delivered() == []
    assert {path for path in spool.rglob("*") if path.is_file()} <= files


def test_nothing_but_the_true_end_of_data_ends_data(server):
    mx = server(MAILMOAT_WORKERS="1")
    smuggled = (
        b"MAIL FROM:<evil@remote.tld>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"
    )
    ends = [
        b"\n.\n",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r",
        b"\r.\r\n",
        b"\r\n.\r",
        b"\r\r\n.\r\r\n",
        b"\n\n.\r\n",
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
        b"\r\n.\r\r\n",
        b"\n.\r\r\n",
    ]
    for end in ends:
        client = data(mx, b"Subject: outer\r\n\r\nfirst" + end + smuggled)
        reply = client.reply()
        bare = b"\n" in end.replace(b"\r\n", b"") or b"\r" in end.replace(b"\r\n", b"")
        assert reply[:9] == ("550 5.6.0" if bare else "250 2.6.0"), end
        assert client.ask("NOOP") == "250 2.0.0 OK"
        client.ask("QUIT")
    found = contents(mx, sum(b"\0" in end for end in ends))
    for octets in found:
        assert b"Subject: outer" in octets
        assert b"MAIL FROM:<evil" in octets
    mx.stop()
    mx = server(MAILMOAT_SMTP__BARE_NEWLINE="normalise")
    for end in ends[:7]:
        client = data(mx, b"Subject: outer\r\n\r\nfirst" + end + smuggled)
        assert client.reply()[:3] == "250"
        assert client.ask("NOOP") == "250 2.0.0 OK"
    for octets in contents(mx, len(found) + 7):
        assert b"MAIL FROM:<evil" in octets, "it became a message of its own"


def test_a_bare_lf_ends_no_command(server):
    mx = server()
    client = mx.client()
    client.socket.sendall(b"MAIL FROM:<x@remote.tld>\nRCPT TO:<alice@example.test>\r\nNOOP\r\n")
    replies = client.replies(2)
    assert replies[0][:3] == "500"
    assert "250 2.1.5" not in "".join(replies)


def test_browsers_and_tls_clients_are_told_to_go(server):
    mx = server()
    for octets in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00"):
        client = mx.client(hello="")
        client.socket.sendall(octets)
        assert client.reply()[:9] == "421 4.7.0"
        assert client.reply() == ""


def test_a_message_is_there_when_250_is(server):
    """As durable as it is said to be: in a partition of the spool, or delivered already."""
    mx = server(MAILMOAT_DELIVERY__NEXT_HOP="smtp://127.0.0.1:1", MAILMOAT_WORKERS="1")
    client = mx.client()
    for number in range(20):
        assert client.deliver(octets=b"Subject: %d\r\n\r\nx\r\n" % number)[:3] == "250"
    os.kill(mx.workers()[0], 9)
    mx.until(lambda: mx.metric("queue_messages") == 20, what="all messages with the next worker")


MESSAGE = b"EHLO x.tld\r\nMAIL FROM:<sender@remote.tld>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\n"


@pytest.mark.parametrize("quits", [b"", b"QUIT\r\n"], ids=["no QUIT", "QUIT"])
@pytest.mark.parametrize("later", [0, 0.002], ids=["at once", "2 ms later"])
def test_one_that_closes_its_side_behind_the_end_of_data_gets_its_replies(server, quits, later):
    """And then the connection is closed; what it sent arrives once."""
    mx = server(MAILMOAT_WORKERS="1")
    for _ in range(10):
        client = mx.client(hello="", greeted=later > 0)
        client.socket.sendall(MESSAGE + quits)
        time.sleep(later)
        client.socket.shutdown(socket.SHUT_WR)
        said = [client.greeting or client.reply(), *client.replies(6)]
        assert [reply[:3] for reply in said] == ["220", "250", "250", "250", "354", "250", "221" if quits else ""]
        assert client.reply() == ""
    assert len(contents(mx, 10)) == 10
    mx.until(lambda: mx.metric("connections") == 0, what="end of the connections")


@pytest.mark.parametrize("ahead", [0, 5000], ids=["idle", "more than is kept while held"])
def test_one_that_closes_its_side_while_held_gets_all_its_replies_within_the_holds(server, ahead):
    mx = server(MAILMOAT_TARPIT__TIME="1", MAILMOAT_LIMITS__IDLE_COMMANDS="0", MAILMOAT_WORKERS="1")
    client = mx.client()
    client.socket.sendall(
        b"XYZZY\r\n" + b"NOOP\r\n" * ahead + b"MAIL FROM:<a@b.tld>\r\nRCPT TO:<nobody@example.test>\r\nRS"
    )
    client.socket.shutdown(socket.SHUT_WR)
    begun = time.monotonic()
    assert client.reply() == "500 5.5.1 Unrecognized command"
    assert time.monotonic() - begun >= 1
    assert client.replies(ahead) == ["250 2.0.0 OK"] * ahead
    assert client.replies(3) == ["250 2.1.0 a@b.tld....Sender OK", "550 5.1.1 User unknown", ""]
    assert time.monotonic() - begun >= 2
    mx.until(lambda: mx.metric("connections") == 0, what="end of the connection")


def test_one_that_closes_its_side_within_a_content_sends_no_message(server):
    mx = server(MAILMOAT_WORKERS="1")
    client = mx.client()
    assert client.ask(MAIL, KNOWN, "DATA")[:3] == "354"
    client.socket.sendall(b"Subject: half\r\n\r\nx\r\n.\r")
    client.socket.shutdown(socket.SHUT_WR)
    assert client.reply() == ""
    mx.until(lambda: mx.metric("connections") == 0, what="end of the connection")
    assert mx.count() == 0
    assert mx.delivered() == []


def test_one_that_closes_altogether_leaves_nothing_behind(server):
    """Whatever it still would be told, and it takes part of it or none."""
    mx = server(MAILMOAT_WORKERS="1", MAILMOAT_TARPIT__TIME="0.5", MAILMOAT_LIMITS__IDLE_COMMANDS="0")
    for said in (
        MESSAGE,
        MESSAGE * 3,
        b"XYZZY\r\n" * 3,
        b"XYZZY\r\n" + b"NOOP\r\n" * 20_000,
        b"HELP\r\n" * 20_000,
        b"X",
    ):
        for hello in ("", "EHLO x.tld"):
            client = mx.client(hello=hello)
            client.socket.sendall(said)
            client.close()
    mx.until(lambda: mx.metric("connections") == 0, what="end of the connections")
    assert mx.metric("tarpit_held_sessions") == 0
    assert "Traceback" not in mx.log.read_text()
