"""What a resolver promises, held against the real one over UDP and TCP, on both loops, and against the fake one of other tests."""

from __future__ import annotations

import asyncio

import pytest
import uvloop
from tests.doubles.name_server import NameServer
from tests.doubles.resolver import FakeResolver, Zones

from mailmoat import clock
from mailmoat.resolver import Budget, Failed, Failure, Found, NoData, NoName
from mailmoat.resolver.resolver import DnsResolver
from mailmoat.settings.sections.dns import DnsSettings

SILENCE = 0.4
"""Seconds until the real one gives up, in tests of silence."""
PATIENCE = 100.0
"""The same in all others: on a busy machine an answer may take its time."""
NAMES = {
    "example.test": {
        "TXT": [("v=spf1 ", "-all"), "other"],
        "MX": [(10, "mx.Example.test"), (20, "mx2.example.test")],
        "A": ["192.0.2.1", "192.0.2.2"],
        "AAAA": ["2001:db8::1"],
    },
    "1.2.0.192.in-addr.arpa": {"PTR": ["Host.example.test"]},
    "_spf.example.test": {"TXT": ["v=spf1 ?all"]},
    "null.test": {"MX": [(0, ".")]},
    "alias.test": {"CNAME": ["middle.test"]},
    "middle.test": {"CNAME": ["example.test"]},
    "nowhere.test": {"CNAME": ["gone.test"]},
    "l1.test": {"CNAME": ["l2.test"]},
    "l2.test": {"CNAME": ["l1.test"]},
}


class World:
    """A resolver, what it resolves from, and the loop it runs on."""

    def __init__(self, source, resolver, run):
        self.add, self.source = source.add, source
        self._make, self._run = resolver, run
        self._lifetime = PATIENCE

    def set(self, name, *, fault=None, delay=0.0):
        """As both sources have it."""
        if fault == "drop":
            self._lifetime = SILENCE
        self.source.set(name, fault=fault, delay=delay)

    @property
    def questions(self):
        return list(self.source.questions)

    def run(self, ask):
        """`ask(resolver)` on the loop; gives what it gives."""

        async def whole():
            self.resolver = self._make(self._lifetime)
            try:
                return await asyncio.wait_for(ask(self.resolver), 10)
            finally:
                await self.resolver.close()

        return self._run(whole())

    async def heard(self):
        """Until a question has come."""
        for _ in range(2000):
            if self.source.questions:
                return
            await asyncio.sleep(0.002)

    def ask(self, *questions, budget=None):
        """The answers to questions put one after the other."""

        async def one_by_one(resolver):
            spent = budget or Budget(100, 20)
            return [await resolver.query(name, kind, spent) for name, kind in questions]

        return self.run(one_by_one)


@pytest.fixture(params=["real", "real on asyncio's loop", "fake"])
def world(request):
    run = asyncio.run if "asyncio" in request.param else uvloop.run
    if request.param == "fake":
        fake = FakeResolver(silence=SILENCE)
        for name, kinds in NAMES.items():
            for kind, values in kinds.items():
                fake.add(name, kind, *values)
        yield World(fake, lambda _: fake, run)
        return
    with NameServer(NAMES) as server:

        def resolver(lifetime):
            times = {"timeout": lifetime / 2, "lifetime": lifetime}
            return DnsResolver(DnsSettings(servers=server.address, failures=1000, trust_ad=True, **times))

        yield World(server, resolver, run)


# --- answers ---


@pytest.mark.parametrize(
    ("name", "kind", "records"),
    [
        ("example.test", "TXT", (b"v=spf1 -all", b"other")),
        ("example.test", "MX", ((10, "mx.example.test"), (20, "mx2.example.test"))),
        ("example.test", "A", ("192.0.2.1", "192.0.2.2")),
        ("example.test", "AAAA", ("2001:db8::1",)),
        ("1.2.0.192.in-addr.arpa", "PTR", ("host.example.test",)),
        ("alias.test", "CNAME", ("middle.test",)),
        ("_spf.example.test", "TXT", (b"v=spf1 ?all",)),
        ("EXAMPLE.test.", "AAAA", ("2001:db8::1",)),
        ("null.test", "MX", ((0, ""),)),
        ("alias.test", "AAAA", ("2001:db8::1",)),
    ],
)
def test_found(world, name, kind, records):
    alias = "example.test" if (name, kind) == ("alias.test", "AAAA") else ""
    assert world.ask((name, kind)) == [Found(records, 300, alias)]


def test_an_answer_is_authentic_where_all_of_it_is(world):
    """Aliases of a signed zone to one that is not, and the other way round, are not (RFC 7672 2.1.3)."""
    association = (3, 1, 1, b"\x01" * 32)
    world.add("_25._tcp.example.test", "TLSA", association)
    world.add("in.signed.test", "CNAME", "example.test")
    world.add("host.signed.test", "A", "192.0.2.9")
    world.add("out.test", "CNAME", "host.signed.test")
    world.source.sign("signed.test")
    asked = [("host.signed.test", "A"), ("in.signed.test", "A"), ("in.signed.test", "CNAME"), ("out.test", "A")]
    *answers, last = world.ask(*asked, ("_25._tcp.example.test", "TLSA"))
    assert [(answer.authentic, answer.alias) for answer in answers] == [
        (True, ""),
        (False, "example.test"),
        (True, ""),
        (False, "host.signed.test"),
    ]
    assert last == Found((association,), 300)


def test_the_least_time_of_a_chain_counts(world):
    world.add("short.test", "CNAME", "example.test", ttl=7)
    assert world.ask(("short.test", "A")) == [Found(("192.0.2.1", "192.0.2.2"), 7, "example.test")]


@pytest.mark.parametrize(
    ("name", "kind", "answer"),
    [
        ("gone.test", "A", NoName(60)),
        ("nowhere.test", "TXT", NoName(60)),
        ("alias.test", "PTR", NoData(60)),
        ("test", "A", NoData(60)),
        ("l1.test", "A", NoData(300)),
        ("", "A", NoData(60)),
    ],
)
def test_void(world, name, kind, answer):
    assert world.ask((name, kind)) == [answer]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("drop", "timeout"), ("servfail", "servfail"), ("refused", "servfail"), ("malformed", "servfail"), ("lame", "servfail"),
     ("bogus", "bogus")],
)  # fmt: skip
def test_failed(world, fault, reason):
    world.set("example.test", fault=fault)
    assert world.ask(("mx.example.test", "A"), ("null.test", "MX")) == [Failed(Failure(reason)), Found(((0, ""),), 300)]


def test_a_text_of_64_kib(world):
    world.add("big.test", "TXT", b"x" * 64_000)
    (answer,) = world.ask(("big.test", "TXT"))
    assert answer.records == (b"x" * 64_000,)


# --- names ---


@pytest.mark.parametrize(
    "name",
    [
        "a..test",
        ".test",
        ".",
        "..",
        "a" * 64 + ".test",
        ".".join(["a" * 62] * 4) + ".abc",
        "é" * 32 + ".test",
        "\ud800.test",
    ],
)
def test_what_is_no_name_is_not_asked_for(world, name):
    answers = world.ask((name, "A"))
    if name == ".":
        assert answers == [NoData(60)]
        return
    assert answers == [Failed(Failure.MALFORMED)]
    assert world.resolver.cached(name, "A") == Failed(Failure.MALFORMED)
    assert world.questions == []


@pytest.mark.parametrize(
    "name", ["a" * 63 + ".test", ".".join(["a" * 62] * 4) + ".a", "a b.test", "a\\.b.test", "é.test", "\x00.test"]
)
def test_any_octets_make_a_name(world, name):
    assert world.ask((name, "A")) == [NoName(60)]
    assert len(world.questions) == 1


def test_case_is_the_alphabets_alone(world):
    assert world.ask(("É.test", "A"), ("é.test", "A"), ("X.test", "A"), ("x.TEST", "A"))
    assert len(world.questions) == 3


# --- what is known ---


def test_an_answer_is_asked_for_once(world):
    async def ask(resolver):
        budget = Budget(3, 20)
        for name, kind in [("example.test", "A"), ("gone.test", "A"), ("example.test", "PTR")]:
            assert resolver.cached(name, kind) is None
            answer = await resolver.query(name, kind, budget)
            assert resolver.cached(name, kind) == await resolver.query(name.upper(), kind, budget) == answer
        assert budget.left == 0

    world.run(ask)
    assert world.questions == [("example.test", "A"), ("gone.test", "A"), ("example.test", "PTR")]


def test_an_answer_is_known_until_its_time_is_over(world, monkeypatch):
    world.add("brief.test", "A", "192.0.2.9", ttl=5)

    async def ask(resolver):
        begun = clock.monotonic()
        await resolver.query("brief.test", "A", Budget(1, 20))
        over = clock.monotonic() + 5.1
        monkeypatch.setattr(clock, "monotonic", lambda: begun + 4.5)
        assert resolver.cached("brief.test", "A")
        monkeypatch.setattr(clock, "monotonic", lambda: over)
        assert resolver.cached("brief.test", "A") is None

    world.run(ask)


def test_a_time_of_0_is_for_those_who_wait(world):
    world.add("now.test", "A", "192.0.2.9", ttl=0)
    world.set("now.test", delay=0.02)

    async def ask(resolver):
        budget = Budget(10, 20)
        both = await asyncio.gather(*(resolver.query("now.test", "A", budget) for _ in range(2)))
        assert both == [Found(("192.0.2.9",), 0)] * 2
        assert resolver.cached("now.test", "A") is None
        await resolver.query("now.test", "A", budget)

    world.run(ask)
    assert world.questions == [("now.test", "A")] * 2


# --- many askers ---


def test_hundreds_ask_once(world):
    world.set("", delay=0.02)

    async def ask(resolver):
        budgets = [Budget(1, 20) for _ in range(300)]
        answers = await asyncio.gather(*(resolver.query("example.test", "AAAA", budget) for budget in budgets))
        assert set(answers) == {Found(("2001:db8::1",), 300)}
        assert {budget.left for budget in budgets} == {0}

    world.run(ask)
    assert world.questions == [("example.test", "AAAA")]


def test_who_leaves_costs_others_nothing(world):
    world.set("", delay=0.03)

    async def ask(resolver):
        budget = Budget(10, 20)
        first, second = (asyncio.create_task(resolver.query("example.test", "AAAA", budget)) for _ in range(2))
        await world.heard()
        first.cancel()
        assert await second == Found(("2001:db8::1",), 300)
        assert first.cancelled()

    world.run(ask)
    assert len(world.questions) == 1


def test_when_all_leave_the_answer_is_kept_all_the_same(world):
    world.set("", delay=0.03)

    async def ask(resolver):
        budget = Budget(10, 20)
        tasks = [asyncio.create_task(resolver.query("example.test", "AAAA", budget)) for _ in range(2)]
        await world.heard()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert await resolver.query("example.test", "AAAA", budget) == Found(("2001:db8::1",), 300)
        assert resolver.cached("example.test", "AAAA") == Found(("2001:db8::1",), 300)

    world.run(ask)
    assert len(world.questions) == 1


# --- what a message may spend ---


def test_a_message_has_so_many_questions(world):
    budget = Budget(1, 20)
    asked = [("example.test", "A"), ("example.test", "MX"), ("example.test", "A")]
    answers = world.ask(*asked, budget=budget)
    assert answers[1] == Failed(Failure.BUDGET)
    assert answers[0] == answers[2] == Found(("192.0.2.1", "192.0.2.2"), 300)
    assert world.questions == [("example.test", "A")]


def test_a_message_has_so_much_time(world):
    world.set("", delay=0.05)

    async def ask(resolver):
        hasty, patient = Budget(10, 0.01), Budget(10, 20)
        waiting = asyncio.create_task(resolver.query("example.test", "AAAA", patient))
        assert await resolver.query("example.test", "AAAA", hasty) == Failed(Failure.BUDGET)
        while hasty.seconds:  # noqa: ASYNC110 - the loop's clock may be a little ahead, and nobody tells
            await asyncio.sleep(0.001)
        assert await resolver.query("example.test", "MX", hasty) == Failed(Failure.BUDGET)
        assert await waiting == Found(("2001:db8::1",), 300)
        assert hasty.seconds == 0

    world.run(ask)
    assert world.questions == [("example.test", "AAAA")]


# --- the end ---


def test_closing_answers_those_who_wait(world):
    world.set("", fault="drop")

    async def ask(resolver):
        waiting = asyncio.create_task(resolver.query("example.test", "A", Budget(1, 20)))
        await world.heard()
        await resolver.close()
        assert await waiting == Failed(Failure.BROKEN)
        assert await resolver.query("example.test", "A", Budget(1, 20)) == Failed(Failure.BROKEN)
        await resolver.close()

    world.run(ask)


# --- the one that knows everything at once ---


@pytest.mark.parametrize(
    "name", ["example.test", "alias.test", "gone.test", "test", "a..test", "null.test", "EXAMPLE.test."]
)
@pytest.mark.parametrize("kind", ["A", "TXT", "MX", "PTR"])
def test_what_is_known_at_once_is_what_is_answered(world, name, kind):
    zones = Zones()
    for known, kinds in NAMES.items():
        for each, values in kinds.items():
            zones.add(known, each, *values)
    assert [zones.cached(name, kind)] == world.ask((name, kind))
    assert zones.cached(name, kind) is zones.cached(name, kind) or name == "a..test"
