"""Who gets how much of the resolver when there are more questions than room."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
import uvloop
from tests.doubles.name_server import NameServer

from mailmoat.mailauth.spf.checker import Checker, CheckRequest, Scope, Status
from mailmoat.resolver import Budget, Failed, Failure, Found, single_flight
from mailmoat.resolver.resolver import DnsResolver
from mailmoat.resolver.zones import MOST_CHECKS, Zones
from mailmoat.settings.sections.dns import DnsSettings

LIFETIME = 1.0
DEAD = [f"dead{number}.test" for number in range(16)]
ZONE = """
    good.test    TXT "v=spf1 ip4:192.0.2.1 -all"
    example.test A   192.0.2.1
"""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(single_flight, "MOST", 64)
    with NameServer(ZONE) as running:
        for zone in DEAD:
            running.set(zone, fault="drop")
        yield running


def run(server, work, **settings):
    """`work(resolver)` on a loop."""
    named = {"timeout": LIFETIME, "lifetime": LIFETIME, "failures": 1000} | settings

    async def whole():
        resolver = DnsResolver(DnsSettings(servers=server.address, **named))
        try:
            return await work(resolver)
        finally:
            await resolver.close()

    return uvloop.run(whole())


def flood(resolver, clients, each):
    """Tasks that ask each for a name of its own in the dead zones."""
    return [
        asyncio.create_task(
            resolver.query(f"n{number}.{client.replace(':', '-')}.{DEAD[number % 16]}", "TXT", Budget(1, 20, client))
        )
        for client in clients
        for number in range(each)
    ]


async def heard(server, count):
    """Until so many questions have come."""
    while len(server.questions) < count:  # noqa: ASYNC110 - another thread counts
        await asyncio.sleep(0.002)


async def check(resolver, ip):
    """The status of mail from good.test that comes from there."""
    request = CheckRequest(ip, Scope.PRA, "a@good.test", "client.test", "mx.test")
    result = Checker(resolver).check(request, Budget(10, 20, ip))
    return (result if hasattr(result, "status") else await result).status


@pytest.mark.parametrize("failures", [3, 1000])
def test_dead_zones_neither_let_forged_mail_through_nor_defer_good_mail(server, failures):
    """Sixteen of them, asked for by eight hosts whose questions are three times what there is room for; also when they are
    found out only after that."""
    forgers = [f"198.51.100.{number}" for number in range(8)]

    async def work(resolver):
        waiting = flood(resolver, forgers, 24)
        await heard(server, 30)
        assert await check(resolver, "192.0.2.1") is Status.PASS
        statuses = await asyncio.gather(*(check(DnsResolverOf(resolver), ip) for ip in ["203.0.113.1", *forgers]))
        assert set(statuses) == {Status.FAIL}
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)

    run(server, work, failures=failures)


class DnsResolverOf:
    """The same resolver, with nothing known beforehand: each check has to ask."""

    def __init__(self, resolver):
        self._resolver = resolver

    def cached(self, name, kind):
        return None if name == "good.test" else self._resolver.cached(name, kind)

    async def query(self, name, kind, budget):
        self._resolver._cache._kept.clear()
        return await self._resolver.query(name, kind, budget)


def test_no_client_takes_more_than_it_leaves_free(server):
    async def work(resolver):
        waiting = flood(resolver, ["198.51.100.1"], 100)
        await heard(server, 32)
        assert len(server.questions) == 32
        waiting += flood(resolver, [f"2001:db8::{number}" for number in range(10)], 10)
        await heard(server, 48)
        found = Counter("2001" in name for name, _ in server.questions)
        assert found == {False: 32, True: 16}
        assert await resolver.query("example.test", "A", Budget(1, 20, "192.0.2.1")) == Found(("192.0.2.1",), 300)
        assert server.questions.index(("example.test", "A")) == 48, "it did not wait until others were given up"
        assert {await task for task in waiting} == {Failed(Failure.TIMEOUT)}
        assert len(resolver._in_flight) == len(resolver._in_flight._shared._taken) == 0
        assert resolver._in_flight._shared._room == 64

    run(server, work)


def test_no_zone_takes_more_than_it_leaves_free(server):
    async def work(resolver):
        waiting = [
            asyncio.create_task(resolver.query(f"n{number}.{DEAD[0]}", "A", Budget(1, 20, f"192.0.2.{number}")))
            for number in range(60)
        ]
        await heard(server, 32)
        assert await resolver.query("example.test", "A", Budget(1, 20, "192.0.2.1")) == Found(("192.0.2.1",), 300)
        assert len(server.questions) == 33
        assert {await task for task in waiting} == {Failed(Failure.TIMEOUT)}

    run(server, work)


def test_a_full_table_is_waited_for_as_long_as_the_message_may(server, monkeypatch):
    monkeypatch.setattr(single_flight, "MOST", 1)
    server.set("example.test", delay=0.1)

    async def work(resolver):
        first = asyncio.create_task(resolver.query("example.test", "TXT", Budget(1, 20, "192.0.2.1")))
        await heard(server, 1)
        hasty, patient = (
            resolver.query("example.test", "A", Budget(1, seconds, "192.0.2.2")) for seconds in (0.02, 20)
        )
        assert resolver.cached("example.test", "A") is None
        assert await hasty == Failed(Failure.NO_ROOM)
        assert len(server.questions) == 1
        assert await patient == Found(("192.0.2.1",), 300)
        await first

    run(server, work)


def test_what_nobody_waits_for_any_more_takes_no_room(server):
    async def work(resolver):
        for turn in range(1, 5):
            gone = flood(resolver, [f"198.51.100.{turn}", f"203.0.113.{turn}"], 16)
            await heard(server, 32 * turn)
            for task in gone:
                task.cancel()
            await asyncio.wait(gone)
            assert resolver._in_flight._shared._room == 64
            assert len(resolver._in_flight) <= 64
        assert await resolver.query("example.test", "A", Budget(1, 20, "198.51.100.1")) == Found(("192.0.2.1",), 300)

    run(server, work, lifetime=30, timeout=30)  # longer than the budget: it finds room before the others are given up


def test_few_zones_are_found_out_about_at_a_time():
    class Deaf:
        asked = 0

        async def ask(self, labels, kind):
            self.asked += 1
            await asyncio.get_running_loop().create_future()

    async def work():
        servers = Deaf()
        zones = Zones(servers, 1, 30, lambda open_: None)
        for number in range(100):
            zones.unanswered(f"a.z{number}.test")
        await asyncio.sleep(0)
        assert servers.asked == MOST_CHECKS
        await zones.close()
        zones.unanswered("a.z99.test")
        await asyncio.sleep(0)
        assert servers.asked == MOST_CHECKS + 1
        await zones.close()

    uvloop.run(work())


def test_an_abandoned_question_that_is_asked_again_has_its_room_again(server):
    server.set("example.test", delay=0.1)

    async def work(resolver):
        first = asyncio.create_task(resolver.query("example.test", "A", Budget(1, 20)))
        await heard(server, 1)
        first.cancel()
        await asyncio.wait([first])
        second = asyncio.create_task(resolver.query("example.test", "A", Budget(1, 20)))
        await asyncio.sleep(0)
        assert resolver._in_flight._shared._room == 63
        assert await second == Found(("192.0.2.1",), 300)
        assert resolver._in_flight._shared._room == 64
        assert len(server.questions) == 1

    run(server, work)


def test_a_fault_costs_those_who_asked_and_no_room(server, monkeypatch):
    async def work(resolver):
        monkeypatch.setattr(resolver._servers, "ask", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await resolver.query("example.test", "A", Budget(1, 20))
        assert resolver._in_flight._shared._room == 64
        assert len(resolver._in_flight) == 0

    run(server, work)


def test_who_waits_for_room_is_told_when_its_zone_is_found_dead(server):
    async def work(resolver):
        waiting = flood(resolver, [f"198.51.100.{number}" for number in range(8)], 50)
        answers = Counter([await task for task in waiting])
        assert answers[Failed(Failure.BROKEN)] > 200
        assert set(answers) == {Failed(Failure.BROKEN), Failed(Failure.TIMEOUT)}

    run(server, work, failures=1)
