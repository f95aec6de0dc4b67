"""The servers of a domain by its MX records, and what DANE and MTA-STS ask of TLS there (RFC 5321 5.1, RFC 7505, RFC 7672, RFC 8461)."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from tests.doubles.resolver import FakeResolver

from mailmoat._native import RecipientState
from mailmoat.delivery.mx import MxHosts, MxSearch
from mailmoat.delivery.tls_policy import TlsLevel, TlsPolicy
from mailmoat.mta_sts.policies import Applied
from mailmoat.mta_sts.policy import Mode, StsPolicy
from mailmoat.mx import addresses
from mailmoat.resolver.cache import Cache
from mailmoat.settings import Settings

PENDING, FAILED = RecipientState.PENDING, RecipientState.FAILED
MAY = TlsPolicy(TlsLevel.MAY)
PUBLIC = "198.51.100."
DIGEST = (3, 1, 1, b"\x01" * 32)
ANCHOR = (2, 0, 1, b"\x02" * 32)


class Site:
    """A resolver and a search in it."""

    def __init__(self):
        self.resolver = FakeResolver()
        self.policy: StsPolicy | None = None
        self.asked: list[str] = []

    def add(self, text: str) -> None:
        """Records, one a line; the names that are signed after `signed`. Nothing is cached from before."""
        self.resolver._cache = Cache(1 << 20)
        for line in filter(None, map(str.strip, text.splitlines())):
            name, kind, *values = line.split()
            if name == "signed":
                self.resolver.sign(kind, *values)
            elif kind == "MX":
                self.resolver.add(name, kind, (int(values[0]), values[1]))
            else:
                self.resolver.add(name, kind, *values)

    def tlsa(self, name: str, *records) -> None:
        self.resolver.add(f"_25._tcp.{name}", "TLSA", *records)

    async def find(self, domain, budget) -> Applied:
        self.asked.append(domain)
        return Applied(self.policy)

    def search(self, **settings) -> MxSearch:
        made = Settings(hostname="edge.test", listen="127.0.0.1:25", dns={"trust_ad": True}, **settings)
        return MxSearch(made, self.resolver, policies=self)

    def hosts(self, domain="example.test", tls=MAY, *, optional=False, **mx):
        return asyncio.run(MxHosts(domain, self.search(mx=mx), tls, optional=optional).find())

    def names(self, *args, **more):
        return [host.name for host in self.hosts(*args, **more)]

    def refused(self, *args, **more):
        """(state, code and status) of a refusal."""
        found = self.hosts(*args, **more)
        assert isinstance(found, tuple), found
        return found[0], " ".join(found[1].split()[:2])

    def tls(self, **more):
        (host,) = self.hosts(**more)
        return host.tls


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr(addresses, "is_own", lambda address: str(address) in {"203.0.113.25", "10.0.0.25"})
    return Site()


# --- order ---


def test_hosts_are_tried_by_preference_and_by_chance_among_equals(site):
    site.add(
        f"""
        example.test MX 20 c.test
        example.test MX 10 a.test
        example.test MX 10 b.test
        a.test A {PUBLIC}1
        b.test A {PUBLIC}2
        c.test A {PUBLIC}3
        """
    )
    orders = Counter(tuple(site.names()) for _ in range(200))
    assert set(orders) == {("a.test", "b.test", "c.test"), ("b.test", "a.test", "c.test")}
    assert min(orders.values()) > 50
    assert site.hosts()[0].port == 25
    assert site.hosts(port_number=2525)[0].port == 2525


def test_a_domain_without_mx_is_its_own_host(site):
    site.add(f"example.test A {PUBLIC}1")
    assert site.names() == ["example.test"]


def test_addresses_of_the_domain_count_for_nothing_beside_mx(site):
    """RFC 5321 5.1."""
    site.add(f"example.test A {PUBLIC}1\nexample.test MX 10 gone.test")
    assert site.refused() == (PENDING, "451 4.4.4")


def test_aliases_are_followed_at_the_domain_and_at_the_host(site):
    site.add(
        f"""
        alias.test CNAME example.test
        example.test MX 10 mx.test
        mx.test CNAME real.test
        real.test A {PUBLIC}1
        plain.test CNAME host.test
        host.test A {PUBLIC}2
        """
    )
    (host,) = site.hosts("alias.test")
    assert (host.name, host.addresses) == ("mx.test", (f"{PUBLIC}1",))
    (host,) = site.hosts("plain.test")
    assert (host.name, host.addresses) == ("plain.test", (f"{PUBLIC}2",))


def test_a_host_that_is_listed_twice_is_tried_once(site):
    site.add(f"example.test MX 10 a.test\nexample.test MX 20 a.test\na.test A {PUBLIC}1")
    assert site.names() == ["a.test"]


def test_both_families_take_turns(site):
    site.add("example.test MX 10 a.test")
    site.resolver.add("a.test", "A", f"{PUBLIC}1", f"{PUBLIC}2", f"{PUBLIC}3")
    site.resolver.add("a.test", "AAAA", "2001:db8::1")
    four = (f"{PUBLIC}1", "2001:db8::1", f"{PUBLIC}2", f"{PUBLIC}3")
    six = ("2001:db8::1", f"{PUBLIC}1", f"{PUBLIC}2", f"{PUBLIC}3")
    assert site.hosts(prefer="ipv4")[0].addresses == four
    assert site.hosts(prefer="ipv6")[0].addresses == six
    assert {site.hosts()[0].addresses for _ in range(50)} == {four, six}


def test_hosts_and_addresses_are_bounded(site):
    for number in range(8):
        site.add(f"example.test MX {number} h{number}.test")
        site.resolver.add(f"h{number}.test", "A", *(f"{PUBLIC}{10 * number + each}" for each in range(1, 9)))
    hosts = site.hosts()
    assert [host.name for host in hosts] == [f"h{number}.test" for number in range(5)]
    assert [len(host.addresses) for host in hosts] == [6, 1, 1, 1, 1]
    assert [len(host.addresses) for host in site.hosts(max_addresses=2, max_hosts=3)] == [1, 1]
    assert site.names(max_hosts=1) == ["h0.test"]


def test_further_hosts_are_looked_for_when_none_of_the_first_can_be_tried(site):
    for number in range(8):
        site.add(f"example.test MX {number} h{number}.test")
    site.add(f"h7.test A {PUBLIC}1")
    assert site.names() == ["h7.test"]


# --- no hosts ---


def test_a_null_mx_is_final(site):
    """RFC 7505 4.1."""
    site.resolver.add("example.test", "MX", (0, "."))
    assert site.hosts() == (FAILED, "556 5.1.10 example.test accepts no mail (null MX)")


def test_a_null_mx_beside_others_is_a_mistake_in_the_zone(site):
    site.resolver.add("example.test", "MX", (0, "."), (10, "a.test"))
    site.add(f"a.test A {PUBLIC}1")
    assert site.names() == ["a.test"]


def test_a_domain_that_does_not_exist_is_final(site):
    site.add("deep.example.test TXT x")
    for domain in ("gone.test", "example.test", "x" * 64 + ".test"):
        assert site.refused(domain) == (FAILED, "550 5.1.2"), domain


@pytest.mark.parametrize("fault", ["servfail", "bogus", "drop"])
def test_a_domain_of_which_the_dns_does_not_answer_waits(site, fault):
    site.resolver.set("example.test", fault=fault)
    assert site.refused() == (PENDING, "451 4.4.3")
    site.add(
        f"other.test MX 10 mx.example.test\nboth.test MX 10 mx.example.test\nboth.test MX 20 b.test\nb.test A {PUBLIC}1"
    )
    assert site.refused("other.test") == (PENDING, "451 4.4.3")
    assert site.names("both.test") == ["b.test"]


# --- ourselves, and where nobody is ---


@pytest.mark.parametrize("own", ["edge.test", "alias.edge.test", "known.test", "by-address.test", "nat.test"])
def test_this_server_and_all_of_equal_or_worse_preference_are_left_out(site, own):
    """RFC 5321 5.1."""
    site.add(
        f"""
        edge.test A 203.0.113.25
        alias.edge.test CNAME edge.test
        known.test A {PUBLIC}9
        by-address.test A 203.0.113.25
        nat.test A {PUBLIC}25
        example.test MX 10 first.test
        example.test MX 20 {own}
        example.test MX 20 equal.test
        example.test MX 30 worse.test
        loop.test MX 10 {own}
        loop.test MX 20 worse.test
        first.test A {PUBLIC}1
        equal.test A {PUBLIC}2
        worse.test A {PUBLIC}3
        """
    )
    more = {"own_hosts": ("known.test", f"{PUBLIC}25")}
    assert site.names(**more) == ["first.test"]
    assert site.refused("loop.test", **more) == (FAILED, "554 5.4.6")


def test_this_servers_private_address_is_its_own_before_it_is_private(site):
    site.add(f"example.test MX 10 a.test\nexample.test MX 20 b.test\na.test A 10.0.0.25\nb.test A {PUBLIC}1")
    assert site.refused() == (FAILED, "554 5.4.6")


def test_a_private_address_behind_a_translator_or_a_tunnel_is_private(site):
    site.add(
        f"""
        example.test MX 10 nat64.test
        example.test MX 20 tunnel.test
        example.test MX 30 public.test
        nat64.test AAAA 64:ff9b::10.0.0.1
        tunnel.test AAAA 2002:7f00:1::1
        public.test AAAA 64:ff9b::{PUBLIC}1
        """
    )
    assert site.names() == ["public.test"]


def test_a_loopback_address_is_this_server_where_it_listens(site):
    site.add("example.test MX 10 a.test\na.test A 127.0.0.1\nother.test MX 10 b.test\nb.test A 127.0.0.2")
    assert site.refused(ignored_networks=()) == (FAILED, "554 5.4.6")
    assert site.names("other.test", ignored_networks=()) == ["b.test"]


@pytest.mark.parametrize(
    "where",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fd00::1",
        "fe80::1",
        "ff02::1",
        "::ffff:127.0.0.1",
    ],
)
def test_servers_of_strangers_are_not_sought_in_networks_of_ours(site, where):
    kind = "AAAA" if ":" in where else "A"
    site.add(f"example.test MX 10 a.test\na.test {kind} {where}")
    assert site.refused() == (FAILED, "550 5.4.4")
    site.add(f"example.test MX 20 b.test\nb.test A {PUBLIC}1")
    assert site.names() == ["b.test"]
    site.add(f"a.test A {PUBLIC}2")
    assert site.hosts()[0].addresses == (f"{PUBLIC}2",)


@pytest.mark.parametrize("name", ["localhost", "mx.localhost", "192.0.2.1", "1", "a b.test", "-a.test", "\\097.test"])
def test_an_mx_that_is_no_host_name_is_passed_over(site, name):
    site.resolver.add("example.test", "MX", (10, name), (20, "b.test"))
    site.add(f"b.test A {PUBLIC}1")
    assert site.names() == ["b.test"]
    assert name not in {asked for asked, _ in site.resolver.questions}


# --- address literals ---


def test_an_address_in_place_of_a_domain_is_the_server(site):
    """RFC 5321 4.1.3."""
    (host,) = site.hosts(f"[{PUBLIC}1]")
    assert (host.name, host.addresses, host.tls) == (f"{PUBLIC}1", (f"{PUBLIC}1",), MAY)
    (host,) = site.hosts("[ipv6:2001:db8::1]")
    assert host.addresses == ("2001:db8::1",)
    assert site.asked == []
    assert site.resolver.questions == []


def test_an_address_in_place_of_a_domain_is_no_way_to_us(site):
    assert site.refused("[203.0.113.25]") == (FAILED, "554 5.4.6")
    assert site.refused("[127.0.0.1]") == (FAILED, "550 5.4.4")
    assert site.refused("[ipv6:::1]") == (FAILED, "550 5.4.4")
    assert site.refused("[example.test]") == (FAILED, "550 5.1.2")


# --- DANE ---

SECURE = f"""
    signed example.test mx.test real.test
    example.test MX 10 mx.test
    mx.test A {PUBLIC}1
"""


def test_a_server_with_tlsa_records_is_authenticated_by_them(site):
    site.add(SECURE)
    site.tlsa("mx.test", DIGEST, ANCHOR, (0, 0, 1, b"\x03" * 32))
    expected = TlsPolicy(TlsLevel.VERIFY, names=("mx.test", "example.test"), tlsa=(DIGEST, ANCHOR))
    assert site.tls() == expected


@pytest.mark.parametrize(
    "record", [(0, 0, 1, b"\x03" * 32), (1, 1, 1, b"\x03" * 32), (3, 1, 1, b"short"), (3, 1, 9, b"x")]
)
def test_records_that_cannot_be_used_ask_for_tls_all_the_same(site, record):
    """RFC 7672 2.2."""
    site.add(SECURE)
    site.tlsa("mx.test", record)
    assert site.tls() == TlsPolicy(TlsLevel.ENCRYPT)
    verify = TlsPolicy(TlsLevel.VERIFY)
    assert site.tls(tls=verify) == verify


def test_a_host_that_is_not_signed_is_not_asked_for_records(site):
    """RFC 7672 2.2.2: some of their servers do not answer."""
    site.add(SECURE.replace("signed example.test mx.test", "signed example.test"))
    site.tlsa("mx.test", DIGEST)
    assert site.tls() == MAY
    assert "TLSA" not in {kind for _, kind in site.resolver.questions}


def test_records_count_at_a_signed_host_of_a_domain_that_is_not(site):
    """RFC 7672 2.2.1, 3.2.2: the host alone is the name then."""
    site.add(SECURE.replace("signed example.test mx.test", "signed mx.test"))
    site.tlsa("mx.test", DIGEST)
    assert site.tls() == TlsPolicy(TlsLevel.VERIFY, names=("mx.test",), tlsa=(DIGEST,), authentic=False)


def test_records_that_are_not_signed_are_none(site):
    site.add(SECURE)
    site.resolver.add("_25._tcp.mx.test", "CNAME", "_dane.elsewhere.test")
    site.resolver.add("_dane.elsewhere.test", "TLSA", DIGEST)
    assert site.tls() == MAY


DANE = TlsPolicy(TlsLevel.DANE)


@pytest.mark.parametrize("records", [(), ((3, 1, 1, b"short"),)])
def test_where_dane_is_asked_for_a_server_without_records_to_use_gets_nothing(site, records):
    """RFC 7672 6: mandatory DANE."""
    site.add(SECURE)
    site.tlsa("mx.test", *records)
    assert site.refused(tls=DANE) == (PENDING, "451 4.7.5")
    assert site.refused("[203.0.113.9]", tls=DANE) == (PENDING, "451 4.7.5")


def test_where_dane_is_asked_for_a_server_is_authenticated_by_its_records(site):
    site.add(SECURE)
    site.tlsa("mx.test", DIGEST)
    assert site.tls(tls=DANE) == TlsPolicy(TlsLevel.VERIFY, names=("mx.test", "example.test"), tlsa=(DIGEST,))


def test_where_dane_is_asked_for_a_host_named_without_a_signature_gets_nothing(site):
    site.add(SECURE.replace("signed example.test mx.test", "signed mx.test"))
    site.tlsa("mx.test", DIGEST)
    assert site.refused(tls=DANE) == (PENDING, "451 4.7.5")


@pytest.mark.parametrize("fault", ["servfail", "bogus", "drop"])
def test_a_host_whose_records_cannot_be_found_out_is_not_tried(site, fault):
    """RFC 7672 2.1.2."""
    site.add(SECURE)
    site.resolver.set("_tcp.mx.test", fault=fault)
    assert site.refused() == (PENDING, "451 4.4.3")
    site.add(f"example.test MX 20 b.test\nb.test A {PUBLIC}2")
    assert site.names() == ["b.test"]


def test_the_name_at_the_end_of_secure_aliases_has_the_records_or_else_the_first(site):
    """RFC 7672 2.2.3."""
    site.add(f"{SECURE.replace('mx.test A', 'real.test A')}\nmx.test CNAME real.test")
    site.tlsa("mx.test", DIGEST)
    assert site.tls().names == ("mx.test", "example.test")
    site.tlsa("real.test", ANCHOR)
    site.add("")
    assert site.tls().names == ("real.test", "example.test")
    assert site.tls().tlsa == (ANCHOR,)


def test_a_secure_alias_of_a_host_that_is_not_signed_has_the_records(site):
    """RFC 7672 2.2.2, insecure CNAME."""
    site.add(f"{SECURE.replace('mx.test A', 'cloud.test A')}\nmx.test CNAME cloud.test")
    site.tlsa("mx.test", DIGEST)
    assert site.tls() == TlsPolicy(TlsLevel.VERIFY, names=("mx.test", "example.test"), tlsa=(DIGEST,))


def test_an_alias_that_is_not_signed_leads_to_no_records(site):
    site.add(
        f"signed example.test real.test\nexample.test MX 10 mx.test\nmx.test CNAME real.test\nreal.test A {PUBLIC}1"
    )
    site.tlsa("real.test", DIGEST)
    site.tlsa("mx.test", DIGEST)
    assert site.tls() == MAY


def test_the_aliases_of_the_domain_are_names_too(site):
    """RFC 7672 3.2.2."""
    site.add(f"{SECURE}\nsigned other.test\nother.test CNAME example.test")
    site.tlsa("mx.test", DIGEST)
    assert site.tls(domain="other.test").names == ("mx.test", "other.test", "example.test")


def test_a_domain_that_is_its_own_host_has_records(site):
    site.add(f"signed example.test\nexample.test A {PUBLIC}1")
    site.tlsa("example.test", DIGEST)
    assert site.tls() == TlsPolicy(TlsLevel.VERIFY, names=("example.test",), tlsa=(DIGEST,))


@pytest.mark.parametrize("off", [{"optional": True}, {"tls": TlsPolicy()}, {"dane": False}])
def test_records_count_for_nothing_where_tls_is_optional_or_off(site, off):
    """RFC 8689 4.2.2."""
    site.add(SECURE)
    site.tlsa("mx.test", DIGEST)
    assert site.tls(**off).level in {TlsLevel.MAY, TlsLevel.NONE}


def test_records_count_for_nothing_from_servers_that_are_not_trusted(site):
    site.add(SECURE)
    site.tlsa("mx.test", DIGEST)
    search = MxSearch(Settings(hostname="edge.test"), site.resolver)
    (host,) = asyncio.run(search.find("example.test", MAY))
    assert host.tls == MAY


# --- MTA-STS ---


@pytest.fixture
def policed(site):
    """A domain with two hosts, of which its policy has one."""
    site.add(
        f"example.test MX 10 a.test\nexample.test MX 20 b.other.test\na.test A {PUBLIC}1\nb.other.test A {PUBLIC}2"
    )
    site.policy = StsPolicy(Mode.ENFORCE, 1000, ("*.other.test",))
    return site


def test_hosts_are_those_of_the_policy_and_are_verified(policed):
    (host,) = policed.hosts()
    assert (host.name, host.tls) == ("b.other.test", TlsPolicy(TlsLevel.VERIFY))
    policed.policy = StsPolicy(Mode.ENFORCE, 1000, ("elsewhere.test",))
    assert policed.refused() == (PENDING, "451 4.7.5")


def test_a_policy_that_is_tested_is_recorded_alone(policed):
    policed.policy = StsPolicy(Mode.TESTING, 1000, ("*.other.test",))
    recorded = TlsPolicy(TlsLevel.MAY, recorded=True)
    assert [(host.name, host.tls) for host in policed.hosts()] == [("a.test", recorded), ("b.other.test", recorded)]


def test_a_policy_that_is_tested_takes_nothing_from_what_the_settings_ask_for(policed, tmp_path):
    """RFC 8461 5, and RFC 8689 4.2.1 for the name that the policy has."""
    policed.policy = StsPolicy(Mode.TESTING, 1000, ("*.other.test",))
    asked = TlsPolicy(TlsLevel.VERIFY, ca=tmp_path / "partner.pem")
    first, second = policed.hosts(tls=asked, tls_ca=tmp_path / "world.pem")
    assert (first.tls.level, first.tls.ca, first.tls.authentic) == (TlsLevel.VERIFY, asked.ca, False)
    assert (second.tls.level, second.tls.ca, second.tls.authentic) == (TlsLevel.VERIFY, asked.ca, True)
    assert {host.tls.ca for host in policed.hosts(tls_ca=tmp_path / "world.pem")} == {tmp_path / "world.pem"}


@pytest.mark.parametrize("off", [{"optional": True}, {"tls": TlsPolicy()}])
def test_a_policy_counts_for_nothing_where_tls_is_optional_or_off(policed, off):
    assert len(policed.hosts(**off)) == 2
    assert policed.asked == []


def test_a_policy_of_mode_none_is_none(policed):
    policed.policy = StsPolicy(Mode.NONE, 1000)
    assert {host.tls for host in policed.hosts()} == {MAY}


def test_tlsa_records_come_before_a_policy(policed):
    """RFC 8461 2: a policy never overrides DANE."""
    policed.add("signed a.test")
    policed.tlsa("a.test", DIGEST)
    first, second = policed.hosts()
    assert (first.name, first.tls.tlsa) == ("a.test", (DIGEST,))
    assert (second.name, second.tls) == ("b.other.test", TlsPolicy(TlsLevel.VERIFY))


def test_what_the_settings_ask_for_holds_in_any_case(site):
    site.add(f"example.test A {PUBLIC}1")
    asked = TlsPolicy(TlsLevel.ENCRYPT)
    assert site.tls(tls=asked) == asked


def test_a_name_from_records_that_are_not_signed_does_not_count_as_verified(site):
    """RFC 7672 2.2.1; a domain's own name does, and those of the settings do."""
    site.add(f"example.test MX 10 mx.test\nmx.test A {PUBLIC}1\nown.test A {PUBLIC}2")
    verify = TlsPolicy(TlsLevel.VERIFY)
    assert site.tls(tls=verify).authentic is False
    assert site.tls(domain="own.test", tls=verify).authentic is True
    assert site.tls(tls=TlsPolicy(TlsLevel.VERIFY, names=("mx.test",))).authentic is True
    site.add("signed mx.test")
    site.tlsa("mx.test", (9, 9, 9, b"unusable"))
    assert site.tls(tls=verify).authentic is False
    site.add("signed example.test")
    assert site.tls(tls=verify).authentic is True
