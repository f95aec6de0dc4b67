"""Hosts and ports as they are written."""

from __future__ import annotations

import pytest

from mailmoat.net.endpoint import Endpoint, parse, to_connect, to_connect_bare, to_listen


@pytest.mark.parametrize(
    ("written", "host", "port"),
    [("mx.test:25", "mx.test", 25), ("192.0.2.1:0", "192.0.2.1", 0), ("[2001:db8::1]:65535", "2001:db8::1", 65535)],
)
def test_what_is_read_is_written_the_same(written, host, port):
    assert parse(written) == Endpoint(host, port)
    assert str(Endpoint(host, port)) == written


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ("", "no host and port"),
        (":25", "no host and port"),
        ("[]:25", "no host and port"),
        ("::1:25", "no host and port"),
        ("[::1", "no host and port"),
        ("[::1]25", "no host and port"),
        ("mx.test", "the port is missing"),
        ("mx.test:", "nothing is not a port"),
        ("mx.test:smtp", "smtp is not a port"),
        ("mx.test:-1", "-1 is not a port"),
        ("mx.test:65536", "65536 is not a port"),
        ("mx.test:0\u0662\u0665", "0\u0662\u0665 is not a port"),
    ],
)
def test_what_is_wrong_is_said(written, wrong):
    with pytest.raises(ValueError, match=f"^{wrong}$"):
        parse(written)


def test_a_listener_is_an_address():
    assert to_listen("[::ffff:127.0.0.1]:25") == Endpoint("127.0.0.1", 25)
    with pytest.raises(ValueError, match="localhost is not an IP address"):
        to_listen("localhost:25")


def test_a_server_has_a_port_that_can_be_connected_to():
    assert to_connect("mx.test", 25) == Endpoint("mx.test", 25)
    with pytest.raises(ValueError, match="0 is not a port to connect to"):
        to_connect("mx.test:0", 25)
    with pytest.raises(ValueError, match="no host"):
        to_connect("::1", 25)


@pytest.mark.parametrize(
    ("written", "server"),
    [
        ("mx.test", ("mx.test", 25)),
        ("mx.test:2525", ("mx.test", 2525)),
        ("[::1]:26", ("::1", 26)),
        ("::1", ("::1", 25)),
        ("fe80::1%eth0", ("fe80::1%eth0", 25)),
    ],
)
def test_an_ipv6_address_without_a_port_may_go_without_brackets(written, server):
    assert to_connect_bare(written, 25) == Endpoint(*server)
