"""TLS to the next hop (RFC 3207, RFC 7435, RFC 8689 4.2)."""

from __future__ import annotations

import ssl
from functools import partial

import pytest
from tests.certificates import Authority

row = pytest.mark.row
NAME = "hub.test"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def secure(authority):
    """What a next hop needs to speak TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = authority.sign(NAME)
    context.load_cert_chain(files.chain, files.key)
    return partial(context.wrap_socket, server_side=True)


def broken(connection):
    """Say what is no TLS."""
    connection.recv(65536)
    connection.sendall(b"500 What?\r\n")
    raise EOFError


def offered_again(site) -> None:
    """No connection is left that was made before."""
    site.hop.wait(lambda: not site.hop.open, "end of the connections")


@row("tls-10")
def test_tls_10_outbound_tls_is_taken_where_it_is_offered_and_dropped_where_it_fails(fresh, secure):
    site = fresh()
    offered_again(site)
    for tls, encrypted in ((None, False), (secure, True), (broken, False)):
        site.hop.tls = tls
        recipient = f"t{encrypted:d}{tls is None:d}@all.example.test"
        before = len(site.hop.handshakes)
        assert site.connect().deliver(recipient).code == 250
        site.hop.handed(recipient)
        assert (len(site.hop.handshakes) > before) is encrypted
        offered_again(site)


@row("tls-10")
@pytest.mark.parametrize("policy", ["encrypt", "verify"])
def test_tls_10_outbound_tls_is_never_weaker_than_policy(fresh, secure, authority, policy):
    site = fresh(delivery__tls=policy, delivery__tls_names=NAME, delivery__tls_ca=str(authority.certificate))
    for tls in (None, broken):
        site.hop.tls = tls
        assert site.connect().deliver(f"{policy}@all.example.test").code == 250
        site.hop.heard("EHLO", site.hop.accepted + 1)
    assert not [line for line in site.hop.commands if line.startswith("MAIL")]
    site.hop.tls = secure
    site.hop.handed(f"{policy}@all.example.test", 2)
    assert all(handshake.version() for handshake in site.hop.handshakes)
