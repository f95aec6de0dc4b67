"""The edge: PROXY protocol, tar pit, abuse."""

from __future__ import annotations

import ipaddress
import struct
import time
from contextlib import suppress

import pytest
from tests.integration.conftest import wait_for

row = pytest.mark.row

MEGABYTE = 1 << 20
HELD = 0.4
UNKNOWN = "RCPT TO:<nobody@example.test>"


def version2(source: str, command: int = 0x21) -> bytes:
    block = ipaddress.ip_address(source).packed + bytes([127, 0, 0, 1]) + struct.pack("!HH", 40000, 25)
    return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", command, 0x11, len(block)) + block


@row("proxy-01")
@pytest.mark.parametrize(
    ("header", "address"),
    [
        (b"PROXY TCP4 198.51.100.9 127.0.0.1 40000 25\r\n", "198.51.100.9"),
        (b"PROXY TCP6 2001:db8::5 ::1 40000 25\r\n", "IPv6:2001:db8::5"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (version2("198.51.100.9"), "198.51.100.9"),
        (version2("198.51.100.9", 0x20), "127.0.0.1"),
    ],
)
@pytest.mark.parametrize("cut", [0, 1])
def test_proxy_01_the_given_address_counts(plain, someone, header, address, cut):
    recipient, wire = someone(), plain.wire(plain.proxy_port)
    if cut:
        for at in range(len(header) - 1):
            wire.raw(header[at : at + 1])
        assert wire.silent(0.05), "no greeting before the header is whole"
        wire.raw(header[-1:])
    else:
        wire.raw(header)
    assert wire.reply().code == 220
    assert wire.ask("EHLO client.test").code == 250
    assert wire.deliver(recipient).code == 250
    assert f"([{address}])".encode() in plain.hop.handed(recipient).received


@row("proxy-01")
@pytest.mark.parametrize(
    "header",
    [
        b"EHLO client.test\r\n",
        b"PROXY TCP4 1.2.3 4.5.6.7 1 2\r\n",
        b"PROXY " + b"x" * 200 + b"\r\n",
        version2("1.2.3.4", 0x31),
        b"\x16\x03\x01",
    ],
)
def test_proxy_01_a_bad_header_gets_no_greeting(plain, header):
    wire = plain.wire(plain.proxy_port)
    wire.raw(header)
    assert wire.closed()


@row("proxy-01")
def test_proxy_01_no_header_gets_no_greeting(plain):
    wire = plain.wire(plain.proxy_port)
    assert wire.closed()


@row("proxy-01")
def test_proxy_01_only_where_and_from_whom_allowed(plain, site):
    wire = plain.connect(hello="")
    assert wire.ask("PROXY TCP4 198.51.100.9 127.0.0.1 40000 25").code == 500
    closed = site(listen_proxy_networks="192.0.2.0/24")
    wire = closed.wire(closed.proxy_port)
    with suppress(ConnectionError):
        wire.raw(b"PROXY TCP4 198.51.100.9 127.0.0.1 40000 25\r\n")
    assert wire.closed()


@row("proxy-01")
def test_proxy_01_policy_goes_by_the_given_address(tarpit):
    wire = tarpit.proxied("192.0.2.5")  # exempt from the tar pit
    assert wire.reply().code == 220
    holds = tarpit.server.metric("tarpit_holds_total")
    assert wire.ask("EHLO client.test", "MAIL FROM:<a@remote.test>", UNKNOWN).code == 550
    assert tarpit.server.metric("tarpit_holds_total") == holds


@row("edge-01")
@pytest.mark.parametrize(
    "line", [UNKNOWN, "RCPT TO:<x@remote.test>", "FOO", "MAIL FROM:<", "STARTTLS x", "DATA", "MAIL FROM:<a@b.test> X=1"]
)
def test_edge_01_each_refusal_waits(tarpit, line):
    wire = tarpit.connect()
    assert line == "DATA" or line.startswith("MAIL") or wire.ask("MAIL FROM:<a@remote.test>").code == 250
    seconds, reply = wire.timed(line)
    assert reply.code >= 500
    assert seconds >= HELD


@row("edge-01")
def test_edge_01_a_refused_content_waits(tarpit):
    wire = tarpit.connect()
    wire.envelope("alice@example.test")
    assert wire.ask("DATA").code == 354
    seconds, reply = wire.timed(b"bare\nlf", b".")
    assert reply.code >= 500
    assert seconds >= HELD


@row("edge-01")
def test_edge_01_what_is_no_refusal_does_not_wait(tarpit):
    wire = tarpit.connect()
    holds = tarpit.server.metric("tarpit_holds_total")
    for line in ("NOOP", "HELP", "VRFY x", "RSET", "MAIL FROM:<a@remote.test>"):
        assert wire.ask(line).code < 300
    for number in range(100):
        assert wire.ask(f"RCPT TO:<f{number}@all.example.test>").code == 250
    assert wire.ask("RCPT TO:<more@all.example.test>").code == 452
    assert wire.content(b"\r\n").code == 250
    assert wire.ask("QUIT").code == 221
    assert tarpit.server.metric("tarpit_holds_total") == holds


@row("edge-01")
def test_edge_01_order_within_a_session_and_freedom_of_the_others(tarpit):
    held = [tarpit.connect() for _ in range(20)]
    for wire in held:
        wire.send(
            "MAIL FROM:<a@remote.test>", "RCPT TO:<alice@example.test>", UNKNOWN, "RCPT TO:<bob@example.test>", "NOOP"
        )
    # How long it takes is asked in virtual time: tests/transcripts.
    assert tarpit.connect().deliver("alice@example.test").code == 250
    for wire in held:
        assert wire.codes(5) == [250, 250, 550, 250, 250]


@row("edge-02")
def test_edge_02_a_batch_of_guesses_waits_for_each(tarpit):
    wire = tarpit.connect()
    guesses = 4
    begun = time.monotonic()
    wire.send("MAIL FROM:<a@remote.test>", *[f"RCPT TO:<guess{number}@example.test>" for number in range(guesses)])
    assert wire.reply().code == 250
    for number in range(guesses):
        reply = wire.reply()
        assert (reply.code, reply.enhanced) == (550, "5.1.1")
        assert time.monotonic() - begun >= (number + 1) * HELD


@row("edge-03")
@pytest.mark.parametrize(
    "octets",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /x HTTP/1.0\r\n\r\n", b"CONNECT x:25 HTTP/1.1\r\n\r\n", b"PUT / HTTP/1.1\r\n\r\n", b"HEAD / HTTP/1.1\r\n\r\n",
     b"OPTIONS * HTTP/1.1\r\n\r\n", b"DELETE / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 32],
)  # fmt: skip
def test_edge_03_what_is_not_smtp_ends_the_session(plain, octets):
    wire = plain.connect(hello="")
    wire.raw(octets + b"MAIL FROM:<a@remote.test>\r\nQUIT\r\n")
    assert wire.reply().code in (421, 500, 554)
    assert wire.closed()


@row("edge-04")
def test_edge_04_errors(tight):
    wire = tight.connect()
    codes = []
    while 421 not in codes:
        wire.send("FOO")
        codes.append(wire.reply().code)
        assert len(codes) <= 6
        if codes[-1] == 500 and len(codes) == 5:
            codes.append(wire.reply().code)
    assert wire.closed()


@row("edge-04")
@pytest.mark.parametrize("line", ["NOOP", "RSET", "VRFY x", "HELP", "EHLO client.test"])
def test_edge_04_commands_without_progress(tight, line):
    wire = tight.connect()
    for _ in range(21):
        reply = wire.ask(line)
        if reply.code == 421:
            break
    assert (reply.code, reply.enhanced) == (421, "4.7.0")
    assert wire.closed()


@row("edge-04")
def test_edge_04_sessions_of_one_address(tight):
    crowd = [tight.proxied("198.51.100.4") for _ in range(30)]
    assert {wire.reply().code for wire in crowd} == {220}
    assert tight.proxied("198.51.100.4").reply().code == 421
    assert tight.proxied("198.51.100.5").reply().code == 220, "others are served"
    crowd[0].ask("QUIT")
    assert crowd[0].closed()
    crowd[0].close()
    wait_for(lambda: tight.proxied("198.51.100.4").reply().code == 220, what="room for the address")


def flood(wire, octets: bytes, most: int) -> int:
    """Sends until so much is sent, or nothing more is taken; how much was."""
    wire.socket.settimeout(0.3)
    sent = 0
    with suppress(OSError):
        while sent < most:
            sent += wire.socket.send(octets)
    wire.socket.settimeout(20)
    return sent


@row("edge-05")
@pytest.mark.parametrize(
    ("prepare", "octets"),
    [
        ([], b"x" * 65536),
        ([], b"\0" * 65536),
        ([], b"NOOP " + b"y" * 65000),
        ([], b"NOOP\r\n" * 10000),
        (["MAIL FROM:<a@remote.test>", "RCPT TO:<alice@example.test>", "DATA"], b"X: y\r\n" * 10000),
        (["MAIL FROM:<a@remote.test>", "RCPT TO:<alice@example.test>", "DATA"], b"l" * 65536),
        (["MAIL FROM:<a@remote.test>", "RCPT TO:<alice@example.test>", "DATA"], b"\r\n.x" * 10000),
        (["MAIL FROM:<a@remote.test>"], b"RCPT TO:<f@all.example.test>\r\n" * 3000),
    ],
    ids=["endless", "nul", "long", "noops", "header", "line", "dots", "recipients"],
)
def test_edge_05_no_flood_makes_it_grow(plain, prepare, octets):
    plain.connect().deliver("alice@example.test")
    before = plain.memory()
    wire = plain.connect()
    for line in prepare:
        wire.ask(line)
    flood(wire, octets, 10 * MEGABYTE)
    assert plain.memory() - before < 6 * MEGABYTE
    wire.close()
    assert plain.connect().ask("NOOP").code == 250


@row("edge-05")
def test_edge_05_a_held_session_takes_no_more_than_a_little(tarpit):
    before = tarpit.memory()
    wires = [tarpit.connect() for _ in range(5)]
    for wire in wires:
        wire.send("MAIL FROM:<a@remote.test>", UNKNOWN)
    sent = [flood(wire, (UNKNOWN + "\r\n").encode() * 2000, 20 * MEGABYTE) for wire in wires]
    assert max(sent) < 20 * MEGABYTE, "it stops reading"
    assert tarpit.memory() - before < 4 * MEGABYTE


@row("edge-05")
@pytest.mark.parametrize(
    "content",
    [b"From: " + b"(" * 990 + b"\r\n\r\n", b"To: " + b"<@a," * 240 + b"\r\n\r\n", b"A:\r\n" * 60_000 + b"\r\n", b"A: b\r\n" + b" \r\n" * 80_000 + b"\r\n",
     b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n" * 5000],
    ids=range(5),
)  # fmt: skip
def test_edge_05_nesting_costs_no_time(plain, someone, content):
    recipient = someone()
    assert plain.connect().deliver(recipient, content).code == 250
    assert plain.hop.handed(recipient)
