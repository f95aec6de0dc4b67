"""Lists in the DNS: what is asked, what an answer means, when a provider is in force, and what is kept (RFC 5782)."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.doubles.policy import Counted, services, view
from tests.doubles.resolver import FakeResolver

from mailmoat import clock
from mailmoat._native import Address
from mailmoat.dns_lists.answers import LISTED_IPV6, NOT_LISTED_IPV6, Outcome, Reading, query_name, read
from mailmoat.dns_lists.counted import LOOKUPS, Place
from mailmoat.dns_lists.lookups import INCOMPLETE_TIME, KEPT, LEAST_TIME, MOST_LOOKUPS, MOST_OF_SITE, DnsLookups
from mailmoat.dns_lists.provider import FAILURES, RETRY_TIME, TEST_TIME, Problem
from mailmoat.errors import ConfigError
from mailmoat.policy.agents.dns_lists import DnsLists
from mailmoat.policy.verdict import PASS, Pass, Reject
from mailmoat.reputation.evidence import Evidence
from mailmoat.reputation.once import OncePerSession
from mailmoat.resolver import Budget, Failed, Failure, Found, NoData, NoName, single_flight
from mailmoat.settings import Settings, load, warnings
from mailmoat.settings.sections.dns_lists import DnsListProvider, DnsListsSettings

ADDRESS, NAME = "192.0.2.99", "99.2.0.192.bl.test"
TEST_ENTRY, CONTROL = "2.0.0.127.bl.test", "1.0.0.127.bl.test"


@pytest.fixture
def now(monkeypatch):
    """Seconds of the clock, to be set."""
    time = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(clock, "monotonic", lambda: time.seconds)
    return time


def zone(**names):
    """A resolver with a list that passes its test, and these names in it besides."""
    resolver = FakeResolver()
    resolver.add(TEST_ENTRY, "A", "127.0.0.2")
    for name, answer in names.items():
        resolver.add(name, "A", answer)
    return resolver


def lookups(resolver, *providers, metrics=None, **settings):
    rows = providers or ({"zone": "bl.test"},)
    return DnsLookups(DnsListsSettings(providers=rows, **settings), resolver, metrics)


async def listings(lists, address=ADDRESS):
    await asyncio.wait((lists.look_up(address),))
    return lists.known(address)


# --- names ---


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.99", "99.2.0.192.bad.example.com"),  # RFC 5782 2.1
        ("127.0.0.2", "2.0.0.127.bad.example.com"),
        (
            "2001:db8:1:2:3:4:567:89ab",  # RFC 5782 2.4
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bad.example.com",
        ),
    ],
)
def test_the_name_of_an_address(address, name):
    assert query_name(ip_address(address), "bad.example.com") == name


def test_the_test_entries_of_ipv6():
    """RFC 5782 5."""
    assert str(LISTED_IPV6) == str(ip_address("::FFFF:7F00:2"))
    assert query_name(NOT_LISTED_IPV6, "z").startswith("1.0.0.0.0.0.f.7.f.f.f.f.0.0.")


@given(st.ip_addresses())
def test_every_address_has_a_name_of_its_own(address):
    name = query_name(address, "bl.test")
    parts = name.removesuffix(".bl.test").split(".")[::-1]
    if address.version == 4:
        assert ip_address(".".join(parts)) == address
    else:
        assert int("".join(parts), 16) == int(address)
        assert len(parts) == 32


# --- answers ---


def provider(**settings):
    return DnsListProvider(zone="bl.test", **settings)


@pytest.mark.parametrize(
    ("settings", "answers", "outcome"),
    [
        ({}, ["127.0.0.2"], Outcome.LISTED),
        ({}, ["127.0.1.4", "127.0.0.9"], Outcome.LISTED),
        ({}, ["127.0.0.1"], Outcome.REFUSED),
        ({}, ["127.255.255.252"], Outcome.REFUSED),
        ({}, ["127.255.255.255", "127.0.0.2"], Outcome.REFUSED),
        ({}, ["198.51.100.1"], Outcome.FOREIGN),
        ({}, ["127.0.0.2", "198.51.100.1"], Outcome.FOREIGN),
        ({}, ["not an address"], Outcome.FOREIGN),
        ({"answers": "127.0.0.[2-11]"}, ["127.0.0.11"], Outcome.LISTED),
        ({"answers": "127.0.0.[2-11]"}, ["127.0.0.12"], Outcome.NOT_LISTED),
        ({"answers": "127.0.0.[2-11]"}, ["127.0.0.12", "127.0.0.3"], Outcome.LISTED),
        ({"answers": "127.0.0.2, 127.0.1.[2-3]"}, ["127.0.1.3"], Outcome.LISTED),
        ({"answers": "127.[0-255].[0-255].[0-255]"}, ["127.255.255.254"], Outcome.REFUSED),
        ({"bit_mask": "0.0.0.6"}, ["127.0.0.4"], Outcome.LISTED),
        ({"bit_mask": "0.0.0.6"}, ["127.0.0.9"], Outcome.NOT_LISTED),
        ({"bit_mask": "0.0.1.0"}, ["127.0.3.8"], Outcome.LISTED),
        ({"bit_mask": "0.0.0.4", "answers": "127.0.0.2"}, ["127.0.0.2"], Outcome.LISTED),
        ({"kind": "allow"}, ["127.0.0.255"], Outcome.REFUSED),
        ({"kind": "block"}, ["127.0.0.255"], Outcome.LISTED),
    ],
)
def test_what_an_answer_means(settings, answers, outcome):
    assert read(Found(tuple(answers), 60.0), provider(**settings)).outcome is outcome


def test_an_answer_without_addresses():
    assert read(NoName(60.0), provider()).outcome is Outcome.NOT_LISTED
    assert read(NoData(60.0), provider()).outcome is Outcome.NOT_LISTED
    for failure in (Failure.TIMEOUT, Failure.BUDGET):
        assert read(Failed(failure), provider()) == Reading(Outcome.NO_ANSWER, "timeout")
    assert read(Failed(Failure.NO_ROOM), provider()).outcome is Outcome.NOT_ASKED


# --- whether a provider is in force ---


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        (lambda names: names.add(TEST_ENTRY, "A", "127.0.0.2"), None),
        (lambda names: None, Problem.TEST_ENTRY_MISSING),
        (lambda names: names.set("bl.test", fault="servfail"), Problem.NO_ANSWER),
        (lambda names: names.set("bl.test", fault="drop"), Problem.NO_ANSWER),
        (lambda names: [names.add(name, "A", "127.0.0.2") for name in (TEST_ENTRY, CONTROL)], Problem.LISTS_EVERYTHING),
        (lambda names: [names.add(name, "A", "198.51.100.1") for name in (TEST_ENTRY, CONTROL)], Problem.FOREIGN),
        (lambda names: [names.add(name, "A", "127.0.0.1") for name in (TEST_ENTRY, CONTROL)], Problem.REFUSED),
        (lambda names: names.add(TEST_ENTRY, "A", "127.255.255.254"), Problem.REFUSED),
    ],
)
def test_the_test_of_a_provider(prepare, problem):
    names = FakeResolver(silence=0.01)
    prepare(names)

    async def run():
        lists = lookups(names)
        lists.tick()
        (tested,) = lists.providers
        await tested.tick()
        assert tested.problem is problem
        found = await listings(lists)
        assert found is not None
        assert not found.blocked

    asyncio.run(run())


def test_a_list_of_ones_own_needs_no_test_entry_but_may_not_list_everything():
    async def problem(names):
        lists = lookups(names, {"zone": "bl.test", "test": False})
        await listings(lists)
        return lists.providers[0].problem

    assert asyncio.run(problem(FakeResolver())) is None
    names = FakeResolver()
    names.add(CONTROL, "A", "127.0.0.2")
    assert asyncio.run(problem(names)) is Problem.LISTS_EVERYTHING


def test_one_that_stops_answering_is_out_of_force_and_comes_back(now):
    names = zone(**{NAME: "127.0.0.2"})

    async def run():
        counted = Counted()
        lists = lookups(names, metrics=counted)
        (tested,) = lists.providers
        assert (await listings(lists)).weight == 1
        names.set("bl.test", fault="servfail")
        for number in range(1, FAILURES + 1):
            assert tested.problem is None
            assert (await listings(lists, f"192.0.2.{number}")).weight == 0
        assert tested.problem is Problem.NO_ANSWER
        asked = len(names.questions)
        await listings(lists, "192.0.2.50")
        assert len(names.questions) == asked, "nobody asks one that is out of force"
        assert counted.counted.count(LOOKUPS[next(iter(Place)), Outcome.NO_ANSWER]) == FAILURES
        assert counted.counted.count(LOOKUPS[next(iter(Place)), Outcome.NOT_ASKED]) == 1
        names.set("bl.test")
        lists.tick()
        await asyncio.sleep(0)
        assert len(names.questions) == asked, "it is not tested before its time"
        now.seconds += RETRY_TIME
        await tested.tick()
        assert tested.problem is None
        names.add("51.2.0.192.bl.test", "A", "127.0.0.2")
        assert (await listings(lists, "192.0.2.51")).weight == 1

    asyncio.run(run())


def test_questions_that_find_no_room_are_no_evidence_about_a_provider(monkeypatch):
    """Ten clients with slow zones fill the resolver: the lists are not asked, and stay in force."""
    monkeypatch.setattr(single_flight, "MOST", 10)
    names = zone(**{NAME: "127.0.0.2"})
    for number in range(10):
        names.set(f"slow{number}.test", delay=60)

    async def run():
        counted = Counted()
        lists = lookups(names, metrics=counted, time=0.05)
        (tested,) = lists.providers
        await tested.tick()
        slow = [
            asyncio.create_task(names.query(f"slow{number}.test", "A", Budget(1, 60, f"198.51.100.{number}")))
            for number in range(10)
        ]
        await asyncio.sleep(0)
        sent = len(names.questions)
        for number in range(FAILURES + 1):
            assert (await listings(lists, f"192.0.2.{number}")).weight == 0
        names._cache._kept.clear()
        tested._next_test = 0.0
        await tested.tick()
        assert len(names.questions) == sent + 10, "only the slow questions were sent"
        assert tested.problem is None
        assert tested._next_test <= clock.monotonic() + RETRY_TIME, "a test that was not made is made again soon"
        assert counted.counted.count(LOOKUPS[next(iter(Place)), Outcome.NOT_ASKED]) == FAILURES + 1
        for task in slow:
            task.cancel()
        await asyncio.wait(slow)
        await names.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "problem"), [("198.51.100.1", Problem.FOREIGN), ("127.255.255.254", Problem.REFUSED)]
)
def test_one_wrong_answer_is_enough(answer, problem):
    names = zone(**{NAME: answer})

    async def run():
        lists = lookups(names)
        assert (await listings(lists)).weight == 0
        assert lists.providers[0].problem is problem
        assert lists.providers[0].detail == answer

    asyncio.run(run())


def test_a_provider_is_tested_again_after_an_hour(now):
    names = zone()

    async def run():
        lists = lookups(names)
        (tested,) = lists.providers
        await tested.tick()
        asked = len(names.questions)
        assert tested.tick() is None
        now.seconds += TEST_TIME - 1
        assert tested.tick() is None
        now.seconds += 1
        await tested.tick()
        assert len(names.questions) > asked

    asyncio.run(run())


def test_ipv6_addresses_are_asked_about_only_with_test_entries_of_ipv6():
    six = ip_address("2001:db8::1")
    names = zone(**{query_name(six, "bl.test"): "127.0.0.2"})

    async def run():
        return (await listings(lookups(names), str(six))).weight

    assert asyncio.run(run()) == 0
    names.add(query_name(LISTED_IPV6, "bl.test"), "A", "127.0.0.2")
    names._cache._kept.clear()
    assert asyncio.run(run()) == 1
    names.add(query_name(NOT_LISTED_IPV6, "bl.test"), "A", "127.0.0.2")
    names._cache._kept.clear()
    assert asyncio.run(run()) == 0


def test_a_provider_is_left_at_once():
    names = FakeResolver(silence=60)
    names.set("bl.test", fault="drop")

    async def run():
        lists = lookups(names)
        lists.tick()
        lists.look_up(ADDRESS)
        await asyncio.sleep(0)
        await lists.close()
        assert not lists._lookups
        assert lists.known(ADDRESS) is None

    asyncio.run(run())


# --- lookups ---


def test_an_address_is_looked_up_once_for_all_who_ask():
    names = zone(**{NAME: "127.0.0.2"})

    async def run():
        lists = lookups(names)
        assert lists.look_up(ADDRESS) is lists.look_up(ADDRESS)
        await listings(lists)
        assert names.questions.count((NAME, "A")) == 1
        assert (NAME, "TXT") in names.questions

    asyncio.run(run())


def test_the_reason_is_looked_up_only_where_the_text_has_it():
    names = zone(**{NAME: "127.0.0.2"})
    names.add(NAME, "TXT", "sends\r\nspam", "second")

    async def run(**provider):
        (listing,) = (await listings(lookups(names, {"zone": "bl.test", **provider}))).blocked
        return listing.text

    assert asyncio.run(run()) == "Client host [{address}] is listed by bl.test. sends\r\nspam"
    names.questions.clear()
    assert asyncio.run(run(text="See https://bl.test/{address}")) == "See https://bl.test/{address}"
    assert (NAME, "TXT") not in names.questions


def test_a_result_is_kept_while_it_holds(now):
    names = zone()
    names.add(NAME, "A", "127.0.0.2", ttl=300.0)

    async def run():
        lists = lookups(names)
        await listings(lists)
        now.seconds += 299
        assert lists.known(ADDRESS).weight == 1
        now.seconds += 2
        assert lists.known(ADDRESS) is None
        names.add("1.2.0.192.bl.test", "A", "127.0.0.2", ttl=1.0)
        await listings(lists, "192.0.2.1")
        now.seconds += LEAST_TIME - 1
        assert lists.known("192.0.2.1").weight == 1

    asyncio.run(run())


def test_a_result_that_is_not_complete_is_asked_for_again(now):
    names = zone(**{NAME: "127.0.0.2"})
    names.add("2.0.0.127.slow.test", "A", "127.0.0.2")

    async def run():
        lists = lookups(names, {"zone": "bl.test"}, {"zone": "slow.test"})
        await lists.providers[1].tick()
        names.set("slow.test", fault="servfail")
        assert (await listings(lists)).weight == 1
        now.seconds += INCOMPLETE_TIME
        assert lists.known(ADDRESS) is None

    asyncio.run(run())


def test_what_is_kept_and_what_runs_is_bounded():
    names = zone()

    async def run():
        lists = lookups(names)
        await lists.providers[0].tick()
        addresses = [str(ip_address(number)) for number in range(1 << 30, (1 << 30) + MOST_LOOKUPS + 1)]
        for address in addresses[:-1]:
            assert lists.look_up(address)
        assert lists.look_up(addresses[-1]) is None
        await asyncio.gather(*lists._lookups.values())
        assert not lists._sites
        neighbours = [str(ip_address((0x2001_0DB8 << 96) + number)) for number in range(MOST_OF_SITE + 1)]
        begun = [lists.look_up(address) for address in neighbours]
        assert begun[-1] is None
        assert lists.look_up("2001:db8:0:1::1"), "another /64 has its own share"
        await asyncio.gather(*lists._lookups.values())
        for number in range(KEPT + 1):
            lists._keep(str(number), lists.known(addresses[0]), 60.0)
        assert len(lists._kept) == KEPT
        assert lists.known("0") is None

    asyncio.run(run())


# --- the agent ---


def agent(names, *, reputation=None, rows=({"zone": "bl.test"},), **settings):
    tree = Settings(dns_lists={"providers": rows, **settings}, relay={"local_domains": "example.test"})
    given = services(tree)
    given.resolver = names
    made = DnsLists(given)
    made._evidence = OncePerSession(reputation)
    return made, given


def rcpt(address=ADDRESS, **other):
    return view(address, recipient=Address.parse("alice@example.test"), **other)


async def judge(asked, *views):
    return [await verdict if asyncio.iscoroutine(verdict := asked.on_rcpt(each)) else verdict for each in views]


class Noted:
    def __init__(self):
        self.noted = []

    def note(self, address, evidence, count=1):
        self.noted.append((address, evidence))


def test_a_listed_client_is_noted_once_a_session():
    async def run():
        reputation = Noted()
        asked, _ = agent(zone(**{NAME: "127.0.0.2"}), reputation=reputation, action="reject")
        verdicts = await judge(asked, rcpt(), rcpt(), rcpt(session_id="t-2"))
        assert all(isinstance(verdict, Reject) for verdict in verdicts)
        assert reputation.noted == [(ADDRESS, Evidence.LISTED)] * 2

    asyncio.run(run())


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1", "::1", "10.1.2.3", "192.168.1.1", "169.254.1.1", "fe80::1", "fd00::1"]
)
def test_an_address_that_no_list_can_have_is_not_looked_up(address):
    async def run():
        names = zone()
        asked, _ = agent(names)
        asked.on_helo(rcpt(address))
        assert await judge(asked, rcpt(address)) == [PASS]
        assert names.questions == []

    asyncio.run(run())


def test_a_client_on_an_allow_list_is_known_to_be_good():
    async def run():
        rows = ({"zone": "bl.test"}, {"zone": "wl.test", "kind": "allow"})
        names = zone(**{NAME: "127.0.0.2", "2.0.0.127.wl.test": "127.0.0.2", "99.2.0.192.wl.test": "127.0.5.1"})
        asked, given = agent(names, rows=rows, action="reject")
        assert not given.known_good(ADDRESS)
        (verdict,) = await judge(asked, rcpt())
        assert isinstance(verdict, Pass)
        assert b"dnswl=pass dns.zone=wl.test dns.sec=na policy.ip=127.0.5.1" in verdict.stamps[0]
        assert given.known_good(ADDRESS)

    asyncio.run(run())


def test_who_is_known_to_be_good_is_so_until_the_next_lookup(now):
    names = FakeResolver()
    names.add(TEST_ENTRY, "A", "127.0.0.2")
    names.add(NAME, "A", "127.0.0.2", ttl=60.0)

    async def run():
        lists = lookups(names, {"zone": "bl.test", "kind": "allow"})
        await listings(lists)
        now.seconds += 61
        assert lists.known(ADDRESS) is None
        assert lists.is_allowed(ADDRESS)
        names.set("bl.test", fault="servfail")
        await listings(lists)
        assert not lists.is_allowed(ADDRESS)

    asyncio.run(run())


def test_without_an_allow_list_nobody_is_known_to_be_good():
    assert agent(zone())[1].known_good is None
    assert services(Settings()).known_good is None
    assert services(Settings()).dns_lists is None


def test_too_many_lookups_judge_nobody(monkeypatch):
    async def run():
        asked, given = agent(zone(**{NAME: "127.0.0.2"}), action="reject")
        monkeypatch.setattr(given.dns_lists, "look_up", lambda _: None)
        assert await judge(asked, rcpt()) == [PASS]

    asyncio.run(run())


def test_the_text_of_a_provider_cannot_break_a_reply():
    async def run():
        names = zone(**{NAME: "127.0.0.2"})
        names.add(NAME, "TXT", "x\r\n250 OK \xff" + "y" * 600)
        asked, _ = agent(names, action="reject")
        (verdict,) = await judge(asked, rcpt())
        assert str(verdict.reply).startswith("550 5.7.1 Client host [192.0.2.99] is listed by bl.test. x  250 OK ??")
        assert len(str(verdict.reply)) == 510

    asyncio.run(run())


# --- settings ---


def test_a_table_in_the_file(tmp_path):
    file = tmp_path / "mailmoat.toml"
    file.write_text(
        '[dns_lists]\naction = "reject"\n[[dns_lists.providers]]\nzone = "Zen.Example.ORG."\nweight = 2\nanswers = ["127.0.0.[2-11]"]\n'
        '[[dns_lists.providers]]\nzone = "wl.test"\nkind = "allow"\nbit_mask = "0.0.0.6"\n'
    )
    lists = load(file, {}).dns_lists
    block, allow = lists.providers
    assert (block.zone, block.weight, str(block.answers[0]), lists.action) == (
        "zen.example.org",
        2,
        "127.0.0.[2-11]",
        "reject",
    )
    assert (allow.kind, allow.bit_mask) == ("allow", 6)


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ('zone = "a b"', 'dns_lists.providers[1].zone = "a b": '),
        ('kind = "black"', 'kind = "black": not one of the choices; write block or allow'),
        (
            'answers = "10.0.0.1"',
            "not an address in 127.0.0.0/8, with or without ranges; write addresses such as 127.0.0.2",
        ),
        ('answers = "127.0.0.[3-2]"', "[3-2] is not an octet or a range of them"),
        ('answers = "127.0.0.256"', "256 is not an octet or a range of them"),
        ('bit_mask = "six"', "not an address such as 0.0.0.6; write bits as an address such as 0.0.0.6"),
        ('bit_mask = "127.0.0.6"', "the first octet of a bit mask is 0"),
        (
            'text = "listed %s"',
            "%s is not a placeholder; the placeholders are {address}, {zone}, {reason}; write up to 240",
        ),
        ('text = "{ip}"', "{ip} is not a placeholder"),
        (f'text = "{"x" * 241}"', "not a text of up to 240 characters"),
        ("weight = 0", "not a whole number, 1 or more"),
        ('kind = "allow"\nweight = 2', "weight = 2: a provider of kind allow has no weight"),
    ],
)
def test_mistakes_in_a_row(tmp_path, row, wrong):
    file = tmp_path / "mailmoat.toml"
    zone = "" if row.startswith("zone") else 'zone = "bl.test"\n'
    file.write_text(f"[[dns_lists.providers]]\n{zone}{row}\n")
    with pytest.raises(ConfigError) as raised:
        load(file, {})
    (found,) = raised.value.mistakes
    assert found.startswith(f"{file}: line ")
    assert "dns_lists.providers[1]." in found
    assert wrong in found


def test_more_providers_than_there_is_room_for():
    rows = ", ".join('{"zone": "bl.test"}' for _ in range(11))
    with pytest.raises(ConfigError) as raised:
        load(None, {"MAILMOAT_DNS_LISTS__PROVIDERS": f"[{rows}]"})
    (found,) = raised.value.mistakes
    assert "11 providers, more than 10; write [[dns_lists.providers]] for each, up to 10" in found


@pytest.mark.parametrize(
    ("settings", "warning"),
    [
        ({"dns_lists": {"time": 40}}, "policy.agent_time is 30 s, not above dns_lists.time"),
        ({"dns_lists": {"threshold": 3}}, "dns_lists.threshold is 3, above the sum of all weights, 1"),
        ({"dns": {"servers": "1.1.1.1"}}, "dns.servers has 1.1.1.1, a public resolver"),
    ],
)
def test_what_is_unwise(settings, warning):
    lists = {"providers": [{"zone": "bl.test"}]} | settings.get("dns_lists", {})
    found = warnings(Settings(**settings | {"dns_lists": lists}))
    assert any(warning in each for each in found)
    assert not any("dns" in each and "list" in each for each in warnings(Settings()))
