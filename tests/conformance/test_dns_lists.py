"""Lists in the DNS: what is asked of them, what an answer means, and what is handed on."""

from __future__ import annotations

import json

import pytest
from tests.conformance.test_authentication import connect, handed
from tests.doubles.name_server import NameServer

row = pytest.mark.row

TEST_IPV6 = "2.0.0.0.0.0.f.7.f.f.f.f" + ".0" * 20
ZONE = f"""
    2.0.0.127.bl.test       A   127.0.0.2
    {TEST_IPV6}.bl.test     A   127.0.0.2
    1.2.0.192.bl.test       A   127.0.0.4
    1{".0" * 23}.8.b.d.0.1.0.0.2.bl.test   A   127.0.0.4
    1.2.0.192.empty.test    A   127.0.0.2
    7.2.0.192.empty.test    A   127.0.0.2
    2.0.0.127.all.test      A   127.0.0.2
    1.0.0.127.all.test      A   127.0.0.2
    7.2.0.192.all.test      A   127.0.0.2
    2.0.0.127.closed.test   A   127.0.0.2
    8.2.0.192.closed.test   A   127.255.255.254
    2.0.0.127.gone.test     A   127.0.0.2
    9.2.0.192.gone.test     A   198.51.100.1
    2.0.0.127.wl.test       A   127.0.0.2
    5.2.0.192.wl.test       A   127.0.5.2
"""
KINDS = {"wl": "allow"}
LISTS = [
    {"zone": f"{name}.test", "kind": KINDS.get(name, "block")}
    for name in ("bl", "empty", "all", "closed", "gone", "wl")
]


@pytest.fixture(scope="session")
def lists():
    with NameServer(ZONE) as running:
        yield running


@pytest.fixture
def refusing(site, lists):
    return site(dns__servers=lists.address, dns_lists__action="reject", dns_lists__providers=json.dumps(LISTS))


def answer(server, source):
    """What the first recipient of a client gets."""
    wire = connect(server, source)
    wire.ask("MAIL FROM:<>")
    return wire.ask("RCPT TO:<x@all.example.test>")


@row("dnsl-01")
def test_dnsl_01_ipv4(refusing):
    reply = answer(refusing, "192.0.2.1")
    assert (reply.code, reply.lines[0][:5]) == (550, "5.7.1")
    assert "192.0.2.1" in reply.lines[0]
    assert answer(refusing, "192.0.2.2").code == 250


@row("dnsl-02")
def test_dnsl_02_ipv6(refusing, lists):
    assert answer(refusing, "2001:db8::1").code == 550
    assert answer(refusing, "2001:db8::2").code == 250
    assert not any(name.endswith("8.b.d.0.1.0.0.2.empty.test") for name, _ in lists.questions)


@row("dnsl-03")
def test_dnsl_03_lists_that_fail_their_test(refusing):
    assert answer(refusing, "192.0.2.7").code == 250


@row("dnsl-04")
def test_dnsl_04_what_is_never_a_listing(refusing):
    assert answer(refusing, "192.0.2.8").code == 250
    assert answer(refusing, "192.0.2.9").code == 250


@row("dnsl-05")
def test_dnsl_05_dnswl(refusing):
    message = handed(refusing, "dnsl05@all.example.test", "Subject: x", source="192.0.2.5")
    (field,) = (field for field in message.get_all("Authentication-Results") if "dnswl" in field)
    assert " ".join(field.split()) == "mx.example.test; dnswl=pass dns.zone=wl.test dns.sec=na policy.ip=127.0.5.2"
