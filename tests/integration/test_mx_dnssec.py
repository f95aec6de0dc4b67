"""DANE by a real validating resolver: what it has verified counts, what it has not does not, what is forged stops delivery (RFC 7672 2)."""

from __future__ import annotations

import pytest
import uvloop
from tests import namespace
from tests.unbound import Unbound

from mailmoat._native import RecipientState
from mailmoat.delivery.mx import MxSearch
from mailmoat.delivery.tls_policy import TlsLevel, TlsPolicy
from mailmoat.resolver import Budget, Found, NoData
from mailmoat.resolver.resolver import DnsResolver
from mailmoat.settings import Settings

DIGEST = "01" * 32
ASSOCIATION = (3, 1, 1, bytes.fromhex(DIGEST))
SIGNED = f"""
@                 MX    10 mx
@                 MX    20 alias
mx                A     198.51.100.1
mx                AAAA  2001:db8::1
_25._tcp.mx       TLSA  3 1 1 {DIGEST}
alias             CNAME host.plain.test.
_25._tcp.alias    CNAME _dane
_dane             TLSA  3 1 1 {DIGEST}
bare              MX    10 bare
bare              A     198.51.100.9
"""
PLAIN = f"""
@                 MX    10 mx.signed.test.
@                 MX    20 host
host              A     198.51.100.2
_25._tcp.host     TLSA  3 1 1 {DIGEST}
"""
FORGED = f"""
@                 MX    10 mx
mx                A     198.51.100.3
_25._tcp.mx       TLSA  3 1 1 {DIGEST}
"""
MAY = TlsPolicy(TlsLevel.MAY)


@pytest.fixture(scope="module")
def unbound(tmp_path_factory):
    zones = {"signed": {"signed.test": SIGNED}, "plain": {"plain.test": PLAIN}, "forged": {"forged.test": FORGED}}
    with namespace.alone(), Unbound(tmp_path_factory.mktemp("unbound"), **zones) as running:
        yield running


def ask(unbound, question, *, trust_ad=True):
    """`question(resolver, settings)` on a loop."""
    settings = Settings(hostname="edge.test", dns={"servers": unbound.address, "trust_ad": trust_ad})

    async def whole():
        resolver = DnsResolver(settings.dns)
        try:
            return await question(resolver, settings)
        finally:
            await resolver.close()

    return uvloop.run(whole())


def hosts(unbound, domain, **more):
    return ask(unbound, lambda resolver, settings: MxSearch(settings, resolver).find(domain, MAY), **more)


@pytest.mark.parametrize(
    ("name", "kind", "authentic"),
    [
        ("signed.test", "MX", True),
        ("_25._tcp.mx.signed.test", "TLSA", True),
        ("_25._tcp.alias.signed.test", "TLSA", True),
        ("alias.signed.test", "CNAME", True),
        ("alias.signed.test", "A", False),
        ("plain.test", "MX", False),
        ("host.plain.test", "A", False),
    ],
)
def test_an_answer_is_authentic_where_the_resolver_has_verified_it(unbound, name, kind, authentic):
    answer = ask(unbound, lambda resolver, _: resolver.query(name, kind, Budget(9, 9)))
    assert isinstance(answer, Found)
    assert answer.authentic is authentic
    untrusted = ask(unbound, lambda resolver, _: resolver.query(name, kind, Budget(9, 9)), trust_ad=False)
    assert untrusted.authentic is False


def test_a_record_that_is_not_there_is_no_failure(unbound):
    answer = ask(unbound, lambda resolver, _: resolver.query("mx.signed.test", "TXT", Budget(9, 9)))
    assert isinstance(answer, NoData)


def test_signed_hosts_are_authenticated_by_their_records(unbound):
    first, second = hosts(unbound, "signed.test")
    assert (first.name, sorted(first.addresses)) == ("mx.signed.test", ["198.51.100.1", "2001:db8::1"])
    assert first.tls == TlsPolicy(TlsLevel.VERIFY, names=("mx.signed.test", "signed.test"), tlsa=(ASSOCIATION,))
    assert second.tls == TlsPolicy(TlsLevel.VERIFY, names=("alias.signed.test", "signed.test"), tlsa=(ASSOCIATION,))


def test_a_domain_that_is_not_signed_has_the_protection_of_hosts_that_are(unbound):
    first, second = hosts(unbound, "plain.test")
    assert first.tls == TlsPolicy(TlsLevel.VERIFY, names=("mx.signed.test",), tlsa=(ASSOCIATION,), authentic=False)
    assert (second.name, second.tls) == ("host.plain.test", MAY)


def test_a_signed_host_without_records_is_as_any_other(unbound):
    (host,) = hosts(unbound, "bare.signed.test")
    assert host.tls == MAY


def test_forged_answers_stop_the_delivery(unbound):
    state, reply = hosts(unbound, "forged.test")
    assert (state, reply[:9]) == (RecipientState.PENDING, "451 4.4.3")


def test_nothing_is_authenticated_by_a_resolver_that_is_not_trusted(unbound):
    assert {host.tls for host in hosts(unbound, "signed.test", trust_ad=False)} == {MAY}
