"""The resolver against name servers that misbehave, over real UDP and TCP, and what it then leaves alone."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager

import pytest
import uvloop
from tests.doubles.name_server import NameServer

from mailmoat import clock
from mailmoat.metrics import (
    DNS_CACHE_HITS,
    DNS_CIRCUIT_BREAKERS_OPEN,
    DNS_QUERIES,
    WORKERS_DNS_SILENT,
    Metrics,
    share,
)
from mailmoat.resolver import Budget, Failed, Failure, Found, NoName, names, resolv_conf, servers
from mailmoat.resolver.resolver import DNS_FAILURES, DnsResolver
from mailmoat.settings.sections.dns import DnsSettings

TIMEOUT = 0.5
"""Seconds; long enough for a server that lives on a busy machine."""
LONG = {"timeout": 100, "lifetime": 100}
"""For what is known at once: a test that waits for it ends by its own timeout."""
ZONE = """
    example.test  TXT "v=spf1 -all"
    example.test  A   192.0.2.1
"""
FOUND = Found((b"v=spf1 -all",), 300)


@pytest.fixture
def server():
    with NameServer(ZONE) as running:
        yield running


@pytest.fixture(params=[uvloop.run, asyncio.run], ids=["uvloop", "asyncio"])
def run(request):
    return request.param


@contextmanager
def dead_port():
    """Where nothing listens and nothing will."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    yield f"127.0.0.1:{port}"


def resolver(*servers, metrics=None, **settings):
    named = {"timeout": TIMEOUT, "lifetime": 2.25 * TIMEOUT} | settings
    return DnsResolver(
        DnsSettings(servers=tuple(getattr(server, "address", server) for server in servers), **named), metrics
    )


async def ask(asked, name="example.test", kind="TXT"):
    """(answer, seconds it took)."""
    begun = clock.monotonic()
    return await asked.query(name, kind, Budget(100, 20)), clock.monotonic() - begun


async def settled(asked):
    """It is found out which zones are dead."""
    if asked._zones._checks:
        await asyncio.wait(asked._zones._checks.values())


def once(run, *servers, **settings):
    async def whole():
        asked = resolver(*servers, **settings)
        try:
            return await ask(asked)
        finally:
            await asked.close()

    return run(whole())


# --- one server ---


@pytest.mark.parametrize("fault", ["drop", "garbage", "wrong-id", "wrong-question"])
def test_what_answers_something_else_does_not_answer(run, server, fault):
    server.set("example.test", fault=fault)
    timeout = 3 * TIMEOUT  # the third question has a quarter of it to be asked in
    answer, seconds = once(run, server, timeout=timeout, lifetime=2.25 * timeout)
    assert answer == Failed(Failure.TIMEOUT)
    assert seconds > 2.2 * timeout
    assert server.questions == [("example.test", "TXT")] * 3


@pytest.mark.parametrize("fault", ["servfail", "refused", "formerr", "malformed", "lame"])
def test_a_failure_is_known_at_once(run, server, fault):
    server.set("example.test", fault=fault)
    assert once(run, server, **LONG)[0] == Failed(Failure.SERVFAIL)
    assert len(server.questions) == 1


def test_a_forged_answer_before_the_true_one_is_passed_over(run):
    """The true answer comes later than one with a wrong id, a wrong question, and garbage."""

    class Forged(NameServer):
        def treat(self, query, *, tcp):
            delay, answer = super().treat(query, tcp=tcp)
            for forged in (
                bytes([answer[0] ^ 1]) + answer[1:],
                answer.replace(b"\x07example", b"\x07another"),
                b"",
                b"\xff" * 40,
            ):
                self.datagrams.transport.sendto(forged, self.datagrams.asker)
            return delay, answer

    with Forged(ZONE) as server:
        assert once(run, server)[0] == FOUND


def test_a_truncated_answer_is_fetched_over_tcp(run, server):
    server.set("example.test", fault="truncate")
    assert once(run, server)[0] == FOUND
    assert server.questions == [("example.test", "TXT")] * 2
    assert server.tcp_questions == [("example.test", "TXT")]


def test_tcp_may_be_refused_or_end_early(run, server):
    with NameServer(ZONE, tcp=False) as udp_only:
        udp_only.set("example.test", fault="truncate")
        assert once(run, udp_only, **LONG)[0] == Failed(Failure.TIMEOUT)
        assert once(run, udp_only, server)[0] == FOUND
    server.set("example.test", fault="short-tcp")
    assert once(run, server)[0] == Failed(Failure.TIMEOUT)


def test_an_answer_that_comes_too_late_harms_nobody(run, server):
    server.set("example.test", delay=1.5 * TIMEOUT)

    async def whole():
        asked = resolver(server, lifetime=TIMEOUT)
        assert (await ask(asked))[0] == Failed(Failure.TIMEOUT)
        server.set("example.test")
        assert (await ask(asked, kind="A"))[0] == Found(("192.0.2.1",), 300)
        await asked.close()

    run(whole())


def test_a_failure_is_kept_a_second(server, monkeypatch):
    server.set("example.test", fault="servfail")

    async def whole():
        asked = resolver(server)
        begun = clock.monotonic()
        assert (await ask(asked))[0] == Failed(Failure.SERVFAIL)
        server.set("example.test")
        later = clock.monotonic() + 1.1
        monkeypatch.setattr(clock, "monotonic", lambda: begun + 0.9)
        assert asked.cached("example.test", "TXT") == Failed(Failure.SERVFAIL)
        monkeypatch.setattr(clock, "monotonic", lambda: later)
        assert (await ask(asked))[0] == FOUND
        await asked.close()

    uvloop.run(whole())


@pytest.mark.usefixtures("ipv6")
def test_a_server_on_ipv6(run):
    with NameServer(ZONE, host="::1") as server:
        server.set("example.test", fault="truncate")
        assert once(run, server)[0] == FOUND


@pytest.mark.parametrize("address", ["2001:db8::1", "fe80::1%nowhere", "255.255.255.255", "0.0.0.0:1"])
def test_what_cannot_be_reached_is_a_value(run, address):
    assert once(run, address)[0] == Failed(Failure.TIMEOUT)


# --- several servers ---


def test_a_closed_port_costs_no_time(run, server):
    with dead_port() as dead:
        assert once(run, dead, server, **LONG)[0] == FOUND
        assert once(run, dead, **LONG)[0] == Failed(Failure.TIMEOUT)


@pytest.mark.parametrize("fault", ["servfail", "refused", "malformed", "lame", "formerr"])
def test_what_one_server_cannot_the_next_can(run, server, fault):
    with NameServer(ZONE) as failing:
        failing.set("", fault=fault)
        assert once(run, failing, server)[0] == FOUND


def test_what_one_server_holds_to_be_forged_no_other_is_asked(run, server):
    with NameServer(ZONE) as validating:
        validating.set("", fault="bogus")
        assert once(run, validating, server)[0] == Failed(Failure.BOGUS)
    assert server.questions == []


def test_a_deaf_server_is_waited_for_once_and_asked_again_later(server, monkeypatch):
    with NameServer(ZONE) as deaf:
        deaf.set("", fault="drop")

        async def whole():
            asked = resolver(deaf, server, open_time=30)
            answer, seconds = await ask(asked)
            assert answer == FOUND
            assert seconds > TIMEOUT * (1 - servers.JITTER)
            for number in range(5):
                answer, _ = await ask(asked, f"n{number}.test")
                assert answer == NoName(60)
            assert len(deaf.questions) == 1
            later = clock.monotonic() + 31
            monkeypatch.setattr(clock, "monotonic", lambda: later)
            deaf.set("")
            both = await asyncio.gather(*(ask(asked, f"m{number}.test") for number in range(2)))
            assert [answer for answer, _ in both] == [NoName(60)] * 2
            assert len(deaf.questions) == 2
            await ask(asked, "last.test")
            assert len(deaf.questions) == 3
            await asked.close()

        uvloop.run(whole())


def test_questions_that_were_lost_together_are_not_repeated_together(monkeypatch):
    waits = []

    async def lost(_server, _query, seconds):
        waits.append(seconds)
        raise TimeoutError if len(waits) % 4 else OSError

    monkeypatch.setattr(servers.transport, "ask", lost)
    asked = servers.Servers(DnsSettings(servers=["192.0.2.1"], timeout=2, lifetime=60))

    async def whole():
        await asyncio.gather(*(asked.ask((b"test",), "A") for _ in range(50)))

    asyncio.run(whole())
    assert all(2 * (1 - servers.JITTER) <= seconds <= 2 for seconds in waits)
    assert len(set(waits)) > 20
    assert max(waits) - min(waits) > servers.JITTER


@pytest.mark.parametrize("fault", [None, "drop"])
def test_other_servers_of_the_system_are_asked_as_soon_as_they_are_named(server, tmp_path, monkeypatch, fault):
    """Also when those before were found dead; a question that is under way gets its answer."""
    path = tmp_path / "resolv.conf"
    monkeypatch.setattr(resolv_conf.ResolvConf.__init__, "__defaults__", (path,))

    async def whole(old):
        path.write_text(f"nameserver {old.address}\n")
        asked = resolver(failures=2)
        old.set("slow.test", delay=TIMEOUT / 2, fault=fault)
        waiting = [asyncio.create_task(ask(asked, f"a{number}.slow.test")) for number in range(3)]
        if fault:
            await asyncio.wait(waiting)
            await asked._upstream._check
            assert asked.cached("example.test", "A") == Failed(Failure.BROKEN)
        else:
            await asyncio.sleep(TIMEOUT / 4)
        path.write_text(f"nameserver {server.address}\noptions edns0\n")
        later = clock.monotonic() + 1
        monkeypatch.setattr(clock, "monotonic", lambda: later)
        assert (await ask(asked))[0] == FOUND
        assert {answer for answer, _ in await asyncio.gather(*waiting)} == {
            Failed(Failure.TIMEOUT) if fault else NoName(60)
        }
        assert server.questions == [("example.test", "TXT")]
        await asked.close()

    with NameServer() as old:
        if fault:
            old.set("", fault=fault)
        uvloop.run(whole(old))


# --- what is dead is left alone ---


def metrics_of_one_worker():
    shared = share(1, sources=1)
    return Metrics(shared, 0), shared.sum


def test_a_dead_zone_does_not_delay_a_live_one_and_is_asked_again_later(server, monkeypatch):
    server.set("dead.test", fault="drop")
    metrics, shown = metrics_of_one_worker()

    async def whole():
        asked = resolver(server, metrics=metrics, failures=3, open_time=30, timeout=3, lifetime=3)
        dead = [asyncio.create_task(ask(asked, f"a{number}.dead.test")) for number in range(40)]
        for number in range(20):
            answer, _ = await ask(asked, f"n{number}.test")
            assert answer == NoName(60)
        assert {answer for answer, _ in await asyncio.gather(*dead)} == {Failed(Failure.TIMEOUT)}
        await settled(asked)
        assert shown(DNS_CIRCUIT_BREAKERS_OPEN) == 1
        before = len(server.questions)
        assert asked.cached("new.dead.test", "A") == Failed(Failure.BROKEN)
        assert (await ask(asked, "new.dead.test"))[0] == Failed(Failure.BROKEN)
        assert len(server.questions) == before
        assert (await ask(asked))[0] == FOUND

        half_open = clock.monotonic() + 31
        monkeypatch.setattr(clock, "monotonic", lambda: half_open)
        server.set("dead.test")
        assert asked.cached("x.dead.test", "A") is None
        names = [f"p{number}.dead.test" for number in range(5)]
        answers = [answer for answer, _ in await asyncio.gather(*(ask(asked, name) for name in names))]
        assert answers == [NoName(60)] + [Failed(Failure.BROKEN)] * 4
        assert (await ask(asked, "y.dead.test"))[0] == NoName(60)
        assert shown(DNS_CIRCUIT_BREAKERS_OPEN) == 0
        await asked.close()

    uvloop.run(whole())


def test_a_dead_zone_is_found_out_by_those_who_do_not_wait(server):
    server.set("dead.test", fault="drop")

    async def whole():
        asked = resolver(server, failures=3)
        hasty = [asked.query(f"a{number}.dead.test", "A", Budget(1, TIMEOUT / 4)) for number in range(3)]
        assert await asyncio.gather(*hasty) == [Failed(Failure.BUDGET)] * 3
        assert len(asked._in_flight) == 3
        await asyncio.wait([flight.task for flight in asked._in_flight._shared._abandoned.values()])
        await settled(asked)
        assert asked.cached("b.dead.test", "A") == Failed(Failure.BROKEN)
        await asked.close()

    uvloop.run(whole())


@pytest.mark.parametrize("suffix", ["uk.com", "tokyo.jp", "test"])
def test_a_dead_name_costs_its_neighbours_nothing(server, suffix):
    """Whoever registers below uk.com shares nothing with others there: what answers for its own SOA is no dead zone."""
    dead, alive = f"dead.{suffix}", f"alive.{suffix}"
    server.add(f"alive.{suffix}", "A", "192.0.2.1")
    server.set(dead, fault="drop")
    metrics, shown = metrics_of_one_worker()

    async def whole():
        asked = resolver(server, failures=3, metrics=metrics)
        hosts = [dead, *(f"a{number}.{dead}" for number in range(4))]
        assert {answer for answer, _ in await asyncio.gather(*(ask(asked, host, "A") for host in hosts))} == {
            Failed(Failure.TIMEOUT)
        }
        await settled(asked)
        is_zone = names.zone(dead) == dead
        assert (await ask(asked, alive, "A"))[0] == Found(("192.0.2.1",), 300)
        assert shown(DNS_CIRCUIT_BREAKERS_OPEN) == is_zone
        assert (names.zone(dead), "SOA") in server.questions
        await asyncio.gather(*(ask(asked, dead, kind) for kind in ("MX", "TXT")))
        assert asked.cached(dead, "AAAA") == Failed(Failure.BROKEN)
        assert asked.cached(alive, "TXT") is None
        await asked.close()

    uvloop.run(whole())


def test_dead_zones_are_not_taken_for_dead_servers(server):
    server.set("dead.test", fault="drop")
    for number in range(8):
        server.set(f"dead{number}.test", fault="drop")

    async def whole():
        asked = resolver(server, failures=3)
        await asyncio.gather(*(ask(asked, f"a.dead{number}.test") for number in range(8)))
        assert (await ask(asked))[0] == FOUND
        assert ("", "SOA") in server.questions
        await asked.close()

    uvloop.run(whole())


def test_dead_servers_are_asked_once_in_a_while(monkeypatch):
    metrics, shown = metrics_of_one_worker()

    async def whole(server):
        server.set("", fault="drop")
        asked = resolver(server, metrics=metrics, failures=3, open_time=30)
        await asyncio.gather(*(ask(asked, f"a.n{number}.test") for number in range(3)))
        await asked._upstream._check
        assert shown(WORKERS_DNS_SILENT) == 1
        assert len(asked._zones) == 0
        before = len(server.questions)
        assert asked.cached("b.test", "A") == Failed(Failure.BROKEN)
        assert (await ask(asked))[0] == Failed(Failure.BROKEN)
        assert len(server.questions) == before

        real = clock.monotonic
        monkeypatch.setattr(clock, "monotonic", lambda: real() + 31)
        server.set("")
        asked._servers._timeout = asked._servers._lifetime = 100  # an answer that takes its time is not asked for twice
        assert (await ask(asked))[0] == Failed(Failure.BROKEN)
        await asked._upstream._check
        assert shown(WORKERS_DNS_SILENT) == 0
        assert server.questions[before:] == [("", "SOA")]
        assert (await ask(asked))[0] == FOUND
        await asked.close()

    with NameServer(ZONE) as server:
        uvloop.run(whole(server))


def test_what_is_counted(server):
    metrics, shown = metrics_of_one_worker()
    server.set("bad.test", fault="servfail")

    async def whole():
        asked = resolver(server, metrics=metrics)
        await asyncio.gather(*(ask(asked) for _ in range(3)))
        await ask(asked)
        await ask(asked, "bad.test")
        await ask(asked, "a..test")
        await asked.query("new.test", "A", Budget(0, 20))
        await asked.close()

    uvloop.run(whole())
    assert shown(DNS_QUERIES) == 2
    assert shown(DNS_CACHE_HITS) == 1
    failures = {reason: count for reason in Failure if (count := shown(DNS_FAILURES[reason]))}
    assert failures == {"servfail": 1, "malformed": 1, "budget": 1}
