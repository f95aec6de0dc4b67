"""Everything real: Unbound with signed zones, Postfix as the mail server of a domain, TLS by DANE on port 25."""

from __future__ import annotations

import socket
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.certificates import Authority
from tests.doubles.next_hop import NextHop
from tests.integration.conftest import wait_for
from tests.mx_world import leaf_of
from tests.namespace import alone
from tests.postfix import Postfix
from tests.unbound import Unbound

from mailmoat._native import Certificate

MAIN = """
myhostname = mx.dane.test
mydestination =
relay_domains = dane.test, wrong.test, plain.test
inet_interfaces = loopback-only
inet_protocols = ipv4
relayhost = [127.0.0.1]:{leaving}
smtpd_tls_cert_file = {chain}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = may
smtpd_tls_loglevel = 1
smtpd_client_connection_count_limit = 0
"""
ZONE = """
@               MX    10 mx
mx              A     127.0.0.2
_25._tcp.mx     TLSA  {tlsa}
"""


@pytest.fixture
def public():
    """A directory that any account can enter."""
    with TemporaryDirectory(prefix="mx-") as made:
        directory = Path(made)
        directory.chmod(0o755)
        yield directory


def greets() -> bool:
    try:
        with socket.create_connection(("127.0.0.2", 25), timeout=1) as connection:
            return connection.recv(3) == b"220"
    except OSError:
        return False


@pytest.mark.parametrize("usage", [2, 3])
def test_postfix_gets_the_mail_of_domains_whose_records_its_certificate_matches(server, public, root, usage):
    authority = Authority(public / "ca")
    (public / "ca").chmod(0o755)
    files = authority.sign("mx.dane.test")
    files.key.chmod(0o644)
    matched = Certificate(leaf_of(authority.certificate if usage == 2 else files.chain)).public_key_digest
    zones = {
        "dane.test": ZONE.format(tlsa=f"{usage} 1 1 {matched}"),
        "wrong.test": ZONE.format(tlsa="3 1 1 " + "00" * 32),
    }
    home = public / "postfix"
    home.mkdir()
    plain = {"plain.test": zones["wrong.test"]}
    with alone(), Unbound(public / "unbound", signed=zones, plain=plain) as names, NextHop() as leaving:
        main = MAIN.format(leaving=leaving.port, chain=files.chain, key=files.key)
        with Postfix(home, main, "127.0.0.2:25 inet n - n - - smtpd\n"):
            wait_for(greets, 60, "greeting of Postfix")
            moat = server(
                MAILMOAT_WORKERS="1",
                MAILMOAT_RELAY__NETWORKS="127.0.0.0/8",
                MAILMOAT_DELIVERY__NEXT_HOP="mx",
                MAILMOAT_DNS__SERVERS=names.address,
                MAILMOAT_DNS__TRUST_AD="on",
                MAILMOAT_MX__IGNORED_NETWORKS="203.0.113.0/24",
            )
            with moat.client() as client:
                sent = {
                    client.submit(f"to-{name}", f"x@{name}.test", sender="a@example.test").split()[2]: name
                    for name in ("dane", "wrong", "plain")
                }
            lines = wait_for(lambda: len(found := moat.logged("delivery-attempt")) >= 3 and found, 60, "attempts")
            ended = {sent[line["queue_id"]]: line for line in lines if line["queue_id"] in sent}
            assert ended["wrong"]["outcomes"][0]["reply"].startswith("451 4.7.5")
            assert [ended[name].get("verified") for name in ("dane", "plain")] == [True, False]
            leaving.wait(lambda: len(leaving.messages) == 2, "two messages")
    assert {to for message in leaving.messages for to in message.recipients} == {"x@dane.test", "x@plain.test"}
