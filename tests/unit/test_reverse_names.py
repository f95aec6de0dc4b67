"""The verified name of a client: confirmed, checked, bounded (RFC 8601 3)."""

from __future__ import annotations

import asyncio

import pytest
from tests.doubles.resolver import FakeResolver

from mailmoat import clock
from mailmoat.resolver import Failed, Failure, Found
from mailmoat.resolver.reverse_names import (
    KEPT,
    LEAST_TIME,
    MOST_LOOKUPS,
    MOST_NAMES,
    Iprev,
    ReverseName,
    ReverseNames,
    host_names,
)
from mailmoat.settings.sections.dns import DnsSettings

ADDRESS = "192.0.2.1"
POINTER = "1.2.0.192.in-addr.arpa"


def found(resolver, address=ADDRESS, **settings):
    """What is known of an address once its lookup has ended."""

    async def look():
        names = ReverseNames(resolver, DnsSettings(**settings))
        assert names.known(address) is None
        names.look_up(address, asyncio.get_running_loop())
        await asyncio.gather(*names._lookups.values())
        assert not names._lookups
        return names.known(address)

    return asyncio.run(look())


def test_a_name_that_has_the_address_is_its_name():
    resolver = FakeResolver()
    resolver.add(POINTER, "PTR", "Mail.Client.TEST.")
    resolver.add("mail.client.test", "A", "192.0.2.9", ADDRESS)
    assert found(resolver) == ReverseName(Iprev.PASS, "mail.client.test")


def test_an_ipv6_address_in_any_spelling():
    resolver = FakeResolver()
    resolver.add("1" + ".0" * 23 + ".8.b.d.0.1.0.0.2.ip6.arpa", "PTR", "six.client.test")
    resolver.add("six.client.test", "AAAA", "2001:db8:0:0::1")
    assert found(resolver, "2001:db8::1") == ReverseName(Iprev.PASS, "six.client.test")


@pytest.mark.parametrize(
    ("pointer", "forward", "result"),
    [
        (None, None, Iprev.PERM_ERROR),
        ("mail.client.test", None, Iprev.FAIL),
        ("mail.client.test", "198.51.100.1", Iprev.FAIL),
        ("mail.client.test", Failed(Failure.SERVFAIL), Iprev.TEMP_ERROR),
        (Failed(Failure.SERVFAIL), None, Iprev.TEMP_ERROR),
        ("192.0.2.1", "192.0.2.1", Iprev.FAIL),
    ],
)
def test_without_one_there_is_no_name(pointer, forward, result):
    zones = {(POINTER, "PTR"): pointer, ("mail.client.test", "A"): forward, ("192.0.2.1", "A"): forward}
    answers = {
        key: value if isinstance(value, Failed) else Found((value,), 300.0) for key, value in zones.items() if value
    }
    assert found(FakeResolver(answers)) == ReverseName(result)


@pytest.mark.parametrize(
    "name",
    [
        "client.test) (forged.test [192.0.2.9]",
        "a b.test",
        "a\\032b.test",
        "a\\013\\010x.test",
        "-a.test",
        "a-.test",
        "a..test",
        "",
        "test.123",
        "192.0.2.1",
        "x" * 64 + ".test",
        ".".join(["x" * 49] * 6),
        "bücher.test",
    ],
)
def test_a_name_that_is_no_host_name_never_joins_a_header(name):
    assert list(host_names(Found((name,), 1.0))) == []


def test_usual_names_are_host_names():
    names = ("mail.client.test", "localhost", "host_1.dsl.test", "1-2-0-192.pool.test", "a.b-c.xn--p1ai", "_x.test")
    assert tuple(host_names(Found(names, 1.0))) == names


def test_only_so_many_names_are_verified():
    resolver = FakeResolver()
    resolver.add(POINTER, "PTR", *(f"n{number}.client.test" for number in range(50)))
    resolver.add("n49.client.test", "A", ADDRESS)
    assert found(resolver) == ReverseName(Iprev.FAIL)
    assert len(resolver.questions) == 1 + MOST_NAMES


def test_a_lookup_ends_in_its_time():
    resolver = FakeResolver(silence=60.0)
    resolver.set(POINTER, fault="drop")
    assert found(resolver, reverse_time=0.05) == ReverseName(Iprev.TEMP_ERROR)


def test_an_address_whose_zone_is_silent_is_looked_up_once_a_minute(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    resolver = FakeResolver({(POINTER, "PTR"): Failed(Failure.TIMEOUT)})

    async def ask():
        names = ReverseNames(resolver, DnsSettings())
        for second in (0, LEAST_TIME - 1, 2):
            now[0] += second
            if names.known(ADDRESS) is None:
                names.look_up(ADDRESS, asyncio.get_running_loop())
                names.look_up(ADDRESS, asyncio.get_running_loop())
                await asyncio.gather(*names._lookups.values())
        return len(resolver.questions)

    assert asyncio.run(ask()) == 2


def test_lookups_and_results_are_bounded():
    resolver = FakeResolver(silence=60.0)
    resolver.set("arpa", fault="drop")

    async def flood():
        loop = asyncio.get_running_loop()
        names = ReverseNames(resolver, DnsSettings())
        for number in range(10 * MOST_LOOKUPS):
            names.look_up(f"10.1.{number // 256}.{number % 256}", loop)
        names.look_up("", loop)
        assert len(names._lookups) == MOST_LOOKUPS
        await names.close()
        assert not names._lookups
        for number in range(2 * KEPT):
            names._keep(f"10.1.{number // 256}.{number % 256}", ReverseName(Iprev.FAIL), 300)
        return len(names._kept)

    assert asyncio.run(flood()) == KEPT
