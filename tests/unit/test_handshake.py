"""TLS handshakes as a client, by the policy of a host."""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from tests.certificates import Authority

from mailmoat._native import Client
from mailmoat.delivery import handshake as handshakes
from mailmoat.delivery.handshake import Handshakes
from mailmoat.delivery.tls_policy import TlsLevel, TlsPolicy
from mailmoat.tls.certificate_file import CertificateError

NAME = "mx.test"
OFFERS = b"220 mx.test\r\n", b"250-mx.test\r\n250 STARTTLS\r\n", b"220 go\r\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def files(authority):
    return authority.sign(NAME)


def shaken(policy: TlsPolicy, files, host: str = NAME) -> Client:
    """A client after its handshake with a server that has this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.chain, files.key)
    asked: list[str] = []
    context.sni_callback = lambda _, name, __: asked.append(name)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    client = Client("c.test", tls=policy.level)
    for line in OFFERS:
        client.receive(line)
        client.output()
    made = Handshakes(policy)
    made.prepare()
    made.begin(client, host)
    for _ in range(4):
        incoming.write(client.output())
        with contextlib.suppress(ssl.SSLError):
            server.do_handshake()
        client.receive(outgoing.read())
    assert asked[0] == (policy.names[0] if policy.names else host)
    return client


def leaf(files) -> bytes:
    return ssl.PEM_cert_to_DER_cert(
        files.chain.read_text().partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    )


def test_without_names_the_host_that_is_asked_for_is_the_name(authority, files):
    policy = TlsPolicy(TlsLevel.VERIFY, ca=authority.certificate)
    assert shaken(policy, files).tls.verified
    assert shaken(policy, files, "other.test").tls_fault == "certificate not verified: not for this name"


def test_a_server_is_authenticated_by_tlsa_records_without_any_ca(files, monkeypatch):
    monkeypatch.setattr(handshakes, "system_file", lambda: None)
    policy = TlsPolicy(TlsLevel.VERIFY, names=("base.test",), tlsa=((3, 0, 0, leaf(files)),))
    assert shaken(policy, files).tls.verified
    other = replace(policy, tlsa=((3, 1, 1, bytes(32)),))
    assert shaken(other, files).tls_fault == "certificate not verified: matches no TLSA record"


def test_a_verdict_can_be_recorded_without_a_refusal(authority, files, tmp_path):
    policy = TlsPolicy(TlsLevel.MAY, recorded=True, ca=authority.certificate)
    assert shaken(policy, files).tls.verified
    facts = shaken(policy, files, "other.test").tls
    assert (facts.verified, facts.verdict) == (False, "not for this name")
    stray = Authority(tmp_path / "stray", "Nobody").sign(NAME)
    assert shaken(policy, stray).tls.verdict == "unknown issuer"


def test_a_verdict_is_not_recorded_where_the_system_has_no_ca(files, monkeypatch):
    monkeypatch.setattr(handshakes, "system_file", lambda: None)
    assert shaken(TlsPolicy(TlsLevel.MAY, recorded=True), files).tls is not None
    with pytest.raises(CertificateError):
        Handshakes(TlsPolicy(TlsLevel.VERIFY)).prepare()
    Handshakes(TlsPolicy(TlsLevel.VERIFY, ca=Path("/no/file"), tlsa=((3, 1, 1, bytes(32)),))).prepare()
