"""The PROXY protocol over real connections: whose address counts, who may say it, and what garbage gets: nothing."""

from __future__ import annotations

import socket
import struct
import time

import pytest
from tests.integration.conftest import free_port

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
UNKNOWN = ("MAIL FROM:<>", "RCPT TO:<nobody@example.test>")


def v1(address):
    family = "TCP6" if ":" in address else "TCP4"
    target = "2001:db8::25" if ":" in address else "198.51.100.25"
    return f"PROXY {family} {address} {target} 40000 25\r\n".encode()


def v2(address, extra=b""):
    kind, family = (0x21, socket.AF_INET6) if ":" in address else (0x11, socket.AF_INET)
    packed = socket.inet_pton(family, address)
    block = packed + packed + struct.pack("!HH", 40000, 25) + extra
    return SIGNATURE + struct.pack("!BBH", 0x21, kind, len(block)) + block


BOTH = pytest.mark.parametrize("header", [v1, v2])


def proxied(server, **environment):
    """A server with a plain and a proxied listener; the port of the second."""
    port = free_port()
    mx = server(start=False, MAILMOAT_LISTEN_PROXY_NETWORKS="127.0.0.0/8", **environment)
    mx.environment["MAILMOAT_LISTEN"] = f"127.0.0.1:{mx.port},proxy://127.0.0.1:{port}"
    return mx.start(), port


def through(mx, port, header, hello="EHLO client.remote.tld"):
    """A client behind a proxy that says `header`."""
    client = mx.client(hello="", port=port, greeted=False)
    client.socket.sendall(header)
    client.greeting = client.reply()
    if client.greeting and hello:
        assert client.ask(hello)[:3] == "250"
    return client


@BOTH
def test_the_address_in_the_header_counts_for_policy(server, header):
    mx, port = proxied(
        server,
        MAILMOAT_TARPIT__TIME="0.5",
        MAILMOAT_TARPIT__EXEMPT_NETWORKS="192.0.2.0/24,2001:db8:1::/48",
        MAILMOAT_RELAY__NETWORKS="203.0.113.7,2001:db8:2::/48",
        MAILMOAT_LIMITS__CONNECTIONS_PER_SOURCE="2",
    )
    for address, held, may_relay in (
        ("192.0.2.9", False, False),
        ("198.51.100.1", True, False),
        ("203.0.113.7", True, True),
        ("2001:db8:1::5", False, False),
        ("2001:db8:2::5", True, True),
    ):
        client = through(mx, port, header(address))
        assert client.greeting[:3] == "220"
        holds = mx.metric("tarpit_holds_total")
        client.ask(UNKNOWN[0])
        seconds, reply = client.timed(UNKNOWN[1])
        assert reply == "550 5.1.1 User unknown"
        assert mx.metric("tarpit_holds_total") - holds == held, address
        assert seconds >= 0.5 * held
        client.send("RCPT TO:<someone@remote.tld>")
        assert client.reply().startswith("250" if may_relay else "550 5.7.1"), address
        client.ask("QUIT")
    # Sources are counted by it as well, and not by the proxy's.
    two = [through(mx, port, header("192.0.2.10")) for _ in range(2)]
    assert through(mx, port, header("192.0.2.10"), hello="").greeting.startswith("421 mx.example.test Too many")
    assert through(mx, port, header("192.0.2.11")).greeting[:3] == "220"
    # It is written into Received.
    assert two[0].deliver()[:3] == "250"
    mx.until(mx.delivered, what="message")
    assert b"([192.0.2.10])" in mx.delivered()[0].read_bytes()


def test_header_and_commands_in_one_segment_or_octet_by_octet(server):
    mx, port = proxied(server)
    for header in (
        v1("192.0.2.1"),
        v2("192.0.2.1"),
        v2("192.0.2.1", b"\x04\0\x01x"),
        b"PROXY UNKNOWN\r\n",
        SIGNATURE + b"\x20\0\0\0",
    ):
        client = mx.client(hello="", port=port, greeted=False)
        client.socket.sendall(header + b"EHLO x.tld\r\nQUIT\r\n")
        assert [reply[:3] for reply in client.replies(4)] == ["220", "250", "221", ""]
        client = mx.client(hello="", port=port, greeted=False)
        for octet in header:
            client.socket.sendall(bytes([octet]))
        assert client.reply()[:3] == "220"
        assert client.ask("QUIT")[:3] == "221"


def test_garbage_is_closed_without_a_greeting(server):
    mx, port = proxied(server)
    garbage = [
        b"EHLO x.tld\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
        b"PROXY " + b"x" * 200,
        SIGNATURE + b"\x31\x11\0\x0c" + b"\0" * 12,
        SIGNATURE + b"\x21\x11\xff\xff",
        b"\x16\x03\x01\x02\x00",
    ]
    for octets in garbage:
        client = mx.client(hello="", port=port, greeted=False)
        client.socket.sendall(octets)
        assert client.reply() == "", octets
    mx.until(lambda: len(mx.logged("proxy-malformed")) == len(garbage), what="a line for each")
    assert mx.metric("sessions_total") <= 1  # that of the start
    # And one that says nothing is not waited for long.
    begun = time.monotonic()
    client = mx.client(hello="", port=port, greeted=False)
    assert client.reply() == ""
    assert time.monotonic() - begun > 2.9


def test_a_host_that_is_not_listed_may_not_speak_it(server):
    mx, port = proxied(server, MAILMOAT_RELAY__NETWORKS="192.0.2.1")
    mx.stop()
    mx.environment["MAILMOAT_LISTEN_PROXY_NETWORKS"] = "10.0.0.0/8"
    mx.start()
    client = mx.client(hello="", port=port, greeted=False)
    client.socket.sendall(b"")
    assert client.reply() == ""
    mx.until(lambda: mx.logged("proxy-refused"), what="a line")
    # On the plain listener the header is a command like any other, and the address stays that of the connection.
    client = mx.client(hello="")
    assert client.ask(v1("192.0.2.1").decode().rstrip())[:3] == "500"
    assert client.ask("EHLO x.tld", "MAIL FROM:<>", "RCPT TO:<x@remote.tld>")[:9] == "550 5.7.1"
