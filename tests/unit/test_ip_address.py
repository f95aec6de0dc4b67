"""IP addresses: one spelling, IPv4-mapped ones, zones, networks."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from mailmoat.net.address import Networks, canonical, literal, peer_address, site, without_zone


@pytest.mark.parametrize(
    ("written", "one"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_an_address_has_one_spelling(written, one):
    assert canonical(written) == one


@pytest.mark.parametrize("written", ["", "localhost", "192.0.2", "[::1]", "192.0.2.1:25", "192.0.2.0/24", "fe80::1%"])
def test_what_is_no_address(written):
    with pytest.raises(ValueError, match="is not an IP address"):
        canonical(written)


def test_a_zone_is_no_part_of_what_is_compared():
    assert str(without_zone("fe80::1%eth0")) == "fe80::1"
    assert literal("fe80::1%eth0") == "[IPv6:fe80::1]"


@pytest.mark.parametrize(
    ("peername", "address"),
    [
        (None, ""),
        (("192.0.2.1", 25), "192.0.2.1"),
        (("::ffff:192.0.2.1", 25, 0, 0), "192.0.2.1"),
        (("fe80::1%eth0", 25, 0, 2), "fe80::1"),
        (("2001:db8::1", 25, 0, 0), "2001:db8::1"),
    ],
)
def test_the_address_of_a_peer(peername, address):
    assert peer_address(peername) == address


@pytest.mark.parametrize(
    ("address", "written"),
    [("192.0.2.1", "[192.0.2.1]"), ("2001:db8::1", "[IPv6:2001:db8::1]"), ("::ffff:192.0.2.1", "[192.0.2.1]")],
)
def test_an_address_literal(address, written):
    assert literal(address) == written


@pytest.mark.parametrize(
    ("client", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::"),
        ("2001:db8:0:0:ffff::1", "2001:db8::"),
        ("fe80::1%eth0", "fe80::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", ""),
    ],
)
def test_hosts_of_one_ipv6_network_are_one_client(client, counted):
    assert site(client) == counted


def test_networks_know_every_spelling():
    inside = Networks([ip_network("192.0.2.0/24"), ip_network("fe80::/10")])
    assert "::ffff:192.0.2.7" in inside
    assert "fe80::1%eth0" in inside
    assert all(address not in inside for address in ("", "nonsense", "198.51.100.1", "2001:db8::1"))
    assert "192.0.2.1" not in Networks([])
