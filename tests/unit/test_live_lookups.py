"""Live lookups: the frames, what protects the sources, the worker's side, in virtual time; and both sides over a real socket."""

from __future__ import annotations

import asyncio
import stat
import struct
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from tests.doubles.directory_source import live_row
from tests.doubles.loop import VirtualLoop

from mailmoat import clock
from mailmoat._native import Address, Normalisation
from mailmoat.directory.directory import Presence
from mailmoat.directory.live import client as client_module
from mailmoat.directory.live.client import GRACE, LiveClient
from mailmoat.directory.live.wire import (
    LONGEST_ANSWER,
    LONGEST_REQUEST,
    UNKNOWN,
    FrameError,
    Frames,
    LiveReply,
    Request,
    answer,
    greeting,
    read_answer,
    read_request,
    request,
)
from mailmoat.directory.source import LiveAnswer
from mailmoat.directory_process.live.lookups import LiveLookups
from mailmoat.directory_process.live.server import LiveServer
from mailmoat.directory_process.live.upstreams import FAILING_TIME, FAILURES, OPEN_TIME
from mailmoat.directory_process.spellings import handed_on, others
from mailmoat.errors import LookupFailedError, SourceError
from mailmoat.upstream.deadlines import Deadlines

ANN, BOB = Address.parse("ann@local.test"), Address.parse("bob@local.test")
EXISTS, ABSENT = LiveAnswer(Presence.EXISTS), LiveAnswer(Presence.ABSENT)


class Source:
    """Has some addresses; answers after a time; is away while `error` is set, and answers nothing while `hangs`."""

    def __init__(self, *addresses: str, delay: float = 0.0, targets=()) -> None:
        self.known = {Address.parse(address).key for address in addresses}
        self.delay, self.targets = delay, targets
        self.error, self.hangs = "", False
        self.asked: list[str] = []
        self.running = self.peak = 0

    async def lookup(self, address: Address) -> LiveAnswer:
        self.asked.append(str(address))
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            if self.hangs:
                await asyncio.get_running_loop().create_future()
            if self.delay:
                await asyncio.sleep(self.delay)
        finally:
            self.running -= 1
        if self.error:
            raise SourceError(self.error)
        return LiveAnswer(Presence.EXISTS, self.targets) if address.key in self.known else ABSENT


class Hops(Source):
    """Asks a server for each domain, of which some are away."""

    def __init__(self, *addresses: str, away=()) -> None:
        super().__init__(*addresses)
        self.away = set(away)

    async def lookup(self, address: Address) -> LiveAnswer:
        if address.domain in self.away:
            raise SourceError(f"{address.domain} is away")
        return await super().lookup(address)


def hops(source):
    return live_row("hops", source, timeout=5, upstream_of=lambda address: address.domain)


class Remarking(Source):
    remarks = ("1 left out", "a server is passed over")


class Doubtful(Remarking):
    def refused_late(self, address, reply):
        return False


@pytest.mark.parametrize(("source", "domains"), [(Remarking(), 0), (Doubtful(), 2)])
def test_only_what_is_said_of_a_next_hop_makes_its_domains_inconclusive(source, domains):
    """The health page says of such a domain that its next hop accepts every address."""
    [state] = LiveLookups([live_row("a", source)], lambda _: None).report()
    assert (state.remarks, state.inconclusive) == (source.remarks, domains)


@pytest.fixture
def loop(monkeypatch):
    made = VirtualLoop()
    monkeypatch.setattr(clock, "monotonic", made.time)
    monkeypatch.setattr(clock, "wall_ms", lambda: made.now_ms)
    yield made
    assert made.faults == []


def run(loop, coroutine, seconds=60.0):
    task = loop.create_task(coroutine)
    until = loop.now_ms + round(seconds * 1000)
    while not task.done() and loop.now_ms < until:
        loop.advance(loop.now_ms + 5)
    return task.result()


def ask(loop, lookups, address, seconds=60.0):
    return run(loop, lookups.ask(Address.parse(address)), seconds)


class TestFrames:
    @given(
        st.lists(
            st.tuples(
                st.integers(0, 2**32 - 1),
                *[st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=60)] * 3,
            )
        ),
        st.integers(1, 50),
    )
    def test_requests_are_read_as_they_were_written_however_they_are_cut(self, asked, size):
        octets = b"".join(request(*each) for each in asked)
        frames = Frames(LONGEST_REQUEST)
        read = []
        for at in range(0, len(octets), size):
            read += [(number, read_request(content)) for number, content in frames.feed(octets[at : at + size])]
        assert read == [(number, Request(*lines)) for number, *lines in asked]

    @given(
        st.sampled_from(Presence),
        st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=40), max_size=5),
        st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=10),
    )
    def test_answers_are_read_as_they_were_written(self, presence, targets, source):
        reply = LiveReply(presence, tuple(targets), source)
        ((number, content),) = Frames(LONGEST_ANSWER).feed(answer(7, reply))
        assert (number, read_answer(content)) == (7, reply)

    @given(st.binary(max_size=200))
    def test_whatever_comes_is_an_answer_or_a_frame_error(self, octets):
        try:
            for _, content in Frames(LONGEST_ANSWER).feed(octets):
                read_answer(content)
        except FrameError:
            pass

    def test_a_long_frame_is_refused_before_it_is_read(self):
        with pytest.raises(FrameError):
            list(Frames(LONGEST_REQUEST).feed(struct.pack("!II", LONGEST_REQUEST + 1, 0)))

    def test_a_frame_has_room_for_all_the_targets_that_there_may_be(self):
        reply = LiveReply(Presence.EXISTS, tuple(f"{number:064}@{'d' * 251}.test" for number in range(1000)), "office")
        ((_, content),) = Frames(LONGEST_ANSWER).feed(answer(7, reply))
        assert read_answer(content) == reply

    def test_targets_that_need_a_long_frame_are_unknown(self):
        reply = LiveReply(Presence.EXISTS, ("a" * LONGEST_ANSWER,), "office")
        ((_, content),) = Frames(LONGEST_ANSWER).feed(answer(7, reply))
        assert read_answer(content) == LiveReply(Presence.UNKNOWN, (), "office")


class TestLiveLookups:
    def test_the_first_source_that_has_an_address_decides(self, loop):
        first = Source("ann@local.test", targets=("ann@in.test",))
        second = Source("ann@local.test", "bob@local.test")
        lookups = LiveLookups([live_row("first", first), live_row("second", second)])
        assert ask(loop, lookups, "ann@local.test") == LiveReply(Presence.EXISTS, ("ann@in.test",), "first")
        assert ask(loop, lookups, "bob@local.test") == LiveReply(Presence.EXISTS, (), "second")
        assert ask(loop, lookups, "eve@local.test").presence is Presence.ABSENT

    def test_only_the_sources_of_its_domain_are_asked_for_an_address(self, loop):
        one, other = Source(), Source("ann@two.test")
        lookups = LiveLookups(
            [live_row("one", one, domains=("one.test",)), live_row("two", other, domains=("two.test",))]
        )
        assert ask(loop, lookups, "ann@two.test").presence is Presence.EXISTS
        assert one.asked == []
        assert ask(loop, lookups, "ann@three.test") == UNKNOWN

    @pytest.mark.parametrize("fault", ["error", "hangs"])
    def test_absent_needs_the_answer_of_every_source(self, loop, fault):
        first, second = Source(), Source()
        setattr(first, fault, "away")
        lookups = LiveLookups([live_row("first", first), live_row("second", second)])
        assert ask(loop, lookups, "ann@local.test") == LiveReply(Presence.UNKNOWN, (), "first")
        assert second.asked == ["ann@local.test"]

    def test_a_source_that_is_away_may_count_as_having_every_address(self, loop):
        source = Source()
        source.error = "away"
        lookups = LiveLookups([live_row("office", source, when_stale="accept")])
        assert ask(loop, lookups, "ann@local.test") == LiveReply(Presence.EXISTS, (), "office")
        assert ask(loop, lookups, "victim%far.test@local.test").presence is Presence.UNKNOWN, "an outage makes no relay"

    @pytest.mark.parametrize("order", [("accept", "unknown"), ("unknown", "accept")])
    def test_unknown_counts_more_than_accept(self, loop, order):
        source = Source()
        source.error = "away"
        lookups = LiveLookups([live_row(f"office-{choice}", source, when_stale=choice) for choice in order])
        assert ask(loop, lookups, "ann@local.test") == LiveReply(Presence.UNKNOWN, (), "office-unknown")

    def test_answers_are_kept_for_their_times(self, loop):
        source = Source("ann@local.test")
        lookups = LiveLookups([live_row("office", source, cache_time=300, absent_cache_time=60)])
        for _ in range(3):
            ask(loop, lookups, "ann@local.test")
            ask(loop, lookups, "eve@local.test")
        assert sorted(source.asked) == ["ann@local.test", "eve@local.test"]
        assert lookups.known(ANN) == LiveReply(Presence.EXISTS, (), "office")
        loop.advance(loop.now_ms + 61_000)
        ask(loop, lookups, "ann@local.test")
        ask(loop, lookups, "eve@local.test")
        assert source.asked[2:] == ["eve@local.test"]
        loop.advance(loop.now_ms + 240_000)
        assert lookups.known(ANN) is None

    def test_presence_holds_for_all_spellings_and_absence_for_one(self, loop):
        source = Source("ann@local.test")
        lookups = LiveLookups([live_row("office", source)])
        ask(loop, lookups, "ann@local.test")
        assert lookups.known(Address.parse("ANN@local.test")).presence is Presence.EXISTS
        ask(loop, lookups, "eve@local.test")
        assert lookups.known(Address.parse("Eve@local.test")) is None

    def test_the_memory_of_the_cache_is_bounded(self, loop):
        source = Source()
        lookups = LiveLookups([live_row("office", source, cache_entries=100)])
        for number in range(1000):
            ask(loop, lookups, f"guess{number}@local.test")
        assert 25 <= len(lookups._asked[0]._absent) <= 100

    def test_guesses_take_no_room_from_those_who_exist(self, loop):
        source = Source("ann@local.test")
        lookups = LiveLookups([live_row("office", source, cache_entries=100)])
        ask(loop, lookups, "ann@local.test")
        for number in range(1000):
            ask(loop, lookups, f"guess{number}@local.test")
        assert lookups.known(ANN).presence is Presence.EXISTS

    def test_equal_lookups_at_the_same_time_are_one(self, loop):
        source = Source("ann@local.test", delay=0.02)
        lookups = LiveLookups([live_row("office", source)])

        async def many():
            return await asyncio.gather(*(lookups.ask(ANN) for _ in range(100)))

        assert {reply.presence for reply in run(loop, many())} == {Presence.EXISTS}
        assert source.asked == ["ann@local.test"]

    def test_a_source_is_asked_so_many_lookups_at_a_time(self, loop):
        source = Source(delay=0.02)
        lookups = LiveLookups([live_row("office", source, concurrency=10)])

        async def many():
            return await asyncio.gather(*(lookups.ask(Address.parse(f"a{n}@local.test")) for n in range(100)))

        assert {reply.presence for reply in run(loop, many())} == {Presence.ABSENT}
        assert source.peak == 10

    def test_a_lookup_that_finds_no_room_in_its_time_is_unknown(self, loop):
        source = Source()
        source.hangs = True
        lookups = LiveLookups([live_row("office", source, timeout=2, concurrency=1)])

        async def two():
            return await asyncio.gather(lookups.ask(ANN), lookups.ask(BOB))

        begun = loop.now_ms
        assert {reply.presence for reply in run(loop, two())} == {Presence.UNKNOWN}
        assert loop.now_ms - begun <= 2100

    @pytest.mark.parametrize("guessers", [1, 2, 3, 8])
    def test_those_who_guess_leave_room_for_the_others(self, loop, guessers):
        """Each has a hundred questions on their way all the time, at a server that holds each of them for five seconds, five at a time."""
        source = Source("ann@local.test", "bob@local.test", delay=5)
        lookups = LiveLookups(
            [live_row("hops", source, upstream_of=lambda _: "hop.test", room_of=lambda _: 5, timeout=15)]
        )

        async def flood():
            for number in range(100):
                for guesser in range(guessers):
                    loop.create_task(lookups.ask(Address.parse(f"g{number}@g{guesser}.test"), f"192.0.2.{guesser}"))

        run(loop, flood())
        loop.advance(loop.now_ms + 12_000)
        run(loop, flood())  # of the first ones, the answers are there, or their time is over
        begun = loop.now_ms
        assert run(loop, lookups.ask(ANN, "198.51.100.1")).presence is Presence.EXISTS
        waited = loop.now_ms - begun
        # Where fewer guess than there are places, one is left free; else it waits for its turn.
        assert waited <= (5_100 if guessers < 4 else 14_000)
        assert source.peak <= 5
        assert run(loop, lookups.ask(BOB)).presence is Presence.EXISTS, "one who is not counted has a turn as well"

    def test_that_others_took_all_the_room_is_counted(self, loop):
        lookups = LiveLookups([live_row("hops", Source(delay=20), room_of=lambda _: 1, timeout=15)])

        async def two():
            return await asyncio.gather(lookups.ask(ANN, "192.0.2.1"), lookups.ask(BOB, "192.0.2.2"))

        assert [reply.presence for reply in run(loop, two())] == [Presence.UNKNOWN, Presence.UNKNOWN]
        assert lookups.report()[0].counts == {"failed": 1, "no-room": 1}

    def test_each_server_of_a_source_has_room_of_its_own(self, loop):
        source = Source(delay=1)
        lookups = LiveLookups(
            [
                live_row(
                    "hops", source, upstream_of=lambda address: address.domain, room_of={"a.test": 2, "b.test": 3}.get
                )
            ]
        )

        async def many():
            await asyncio.gather(
                *(lookups.ask(Address.parse(f"x{number}@{domain}.test")) for number in range(4) for domain in "ab")
            )

        begun = loop.now_ms
        run(loop, many())
        assert (source.peak, loop.now_ms - begun) == (5, 2000)

    def test_at_another_name_of_a_domain_each_keeps_its_local_part(self, loop):
        class Renamed(Source):
            async def lookup(self, address):
                return (await super().lookup(address))._replace(other_domain="new.test")

        source = Renamed("ann@local.test")
        lookups = LiveLookups([live_row("office", source, others=lambda address: [ANN] if address != ANN else [])])
        for local in ("ann", "Ann", "ann+x", "Ann+X", "ann+x"):
            assert ask(loop, lookups, f"{local}@local.test").targets == (f"{local}@new.test",)
            assert lookups.known(Address.parse(f"{local}@local.test")).targets == (f"{local}@new.test",)
        assert source.asked == ["ann@local.test", "ann+x@local.test", "Ann+X@local.test"]

    def test_a_lookup_without_an_answer_counts_once_though_its_answer_is_still_awaited(self, loop):
        source = Source()
        source.hangs = True
        lookups = LiveLookups([replace(live_row("hop", source, timeout=1), answer_time=30)])
        for number in range(FAILURES - 1):
            assert ask(loop, lookups, f"a{number}@local.test").presence is Presence.UNKNOWN
        loop.advance(loop.now_ms + 60_000)
        assert lookups.report()[0].counts == {"failed": FAILURES - 1}
        source.hangs = False
        assert ask(loop, lookups, "ann@local.test").presence is Presence.ABSENT

    def test_a_source_that_does_not_answer_is_left_alone_and_then_asked_one_lookup(self, loop):
        source = Source("ann@local.test")
        source.hangs = True
        changes = []
        lookups = LiveLookups(
            [live_row("office", source, timeout=1)], lambda state: changes.append((state.name, state.error))
        )
        for number in range(FAILURES):
            assert ask(loop, lookups, f"a{number}@local.test").presence is Presence.UNKNOWN
        begun = loop.now_ms
        assert ask(loop, lookups, "ann@local.test").presence is Presence.UNKNOWN
        assert loop.now_ms - begun <= 5, "nobody waits in vain"
        assert len(source.asked) == FAILURES
        assert lookups.report()[0].counts["refused"] == 1
        source.hangs = False
        loop.advance(loop.now_ms + round(OPEN_TIME * 1000))
        assert ask(loop, lookups, "ann@local.test").presence is Presence.EXISTS
        assert lookups.report()[0].error == ""
        assert changes[0] == ("office", "no answer within 1 s")
        assert changes[-1] == ("office", "")

    def test_a_source_with_a_mistake_of_ours_is_asked_again_when_it_is_held_back(self, loop):
        source = Source("ann@local.test")
        lookup, mistakes = source.lookup, 0

        async def mistaken(address):
            nonlocal mistakes
            mistakes += 1
            raise ValueError("secret")

        source.lookup = mistaken
        lookups = LiveLookups([live_row("office", source)])
        for _ in range(FAILURES):
            with pytest.raises(ValueError, match="secret"):
                ask(loop, lookups, "ann@local.test")
        loop.advance(loop.now_ms + round(OPEN_TIME * 1000))
        with pytest.raises(ValueError, match="secret"):
            ask(loop, lookups, "ann@local.test")
        assert mistakes == FAILURES + 1
        assert lookups.report()[0].error == "an error in mailmoat: ValueError; please report it"
        source.lookup = lookup
        loop.advance(loop.now_ms + round(OPEN_TIME * 1000))
        assert ask(loop, lookups, "ann@local.test").presence is Presence.EXISTS

    def test_an_address_that_existed_exists_during_an_outage(self, loop):
        source = Source("ann@local.test")
        lookups = LiveLookups([live_row("office", source, cache_time=300, max_age=3600)])
        assert ask(loop, lookups, "ann@local.test").presence is Presence.EXISTS
        source.error = "away"
        loop.advance(loop.now_ms + 1000_000)
        assert ask(loop, lookups, "ann@local.test").presence is Presence.EXISTS
        assert lookups.report()[0].counts["stale"] == 1
        loop.advance(loop.now_ms + 3600_000)
        assert ask(loop, lookups, "ann@local.test").presence is Presence.UNKNOWN

    def test_what_was_gone_before_an_outage_is_not_there_during_it(self, loop):
        source = Source("ann@local.test")
        lookups = LiveLookups([live_row("office", source, cache_time=300, absent_cache_time=60, max_age=86_400)])
        ask(loop, lookups, "ann@local.test")
        source.known.clear()
        loop.advance(loop.now_ms + 301_000)
        assert ask(loop, lookups, "ann@local.test").presence is Presence.ABSENT
        source.error = "away"
        loop.advance(loop.now_ms + 61_000)
        assert ask(loop, lookups, "ann@local.test").presence is Presence.UNKNOWN

    def test_an_address_that_was_removed_is_absent_when_its_time_in_the_cache_is_over(self, loop):
        source = Source("ann@local.test")
        lookups = LiveLookups([live_row("office", source, cache_time=300)])
        ask(loop, lookups, "ann@local.test")
        source.known.clear()
        loop.advance(loop.now_ms + 301_000)
        assert ask(loop, lookups, "ann@local.test").presence is Presence.ABSENT

    def test_a_subaddress_exists_if_its_address_does(self, loop):
        source = Source("ann@local.test")
        lookups = LiveLookups(
            [live_row("office", source, others=partial(others, Normalisation("+"))), live_row("other", Source())]
        )
        assert ask(loop, lookups, "ann+tag@local.test") == LiveReply(Presence.EXISTS, (), "office")
        assert lookups.known(Address.parse("ann+tag@local.test")).presence is Presence.EXISTS
        assert ask(loop, lookups, "bob+tag@local.test").presence is Presence.ABSENT

    def test_the_detail_of_a_subaddress_goes_on_to_the_targets_of_its_address(self, loop):
        normalisation = Normalisation("+", [("dots.test", "ignore", "ignore", "+")], ["local.test"])
        source = Source("team@dots.test", targets=("ann@local.test", "far@other.test", "no address@"))
        row = live_row(
            "office",
            source,
            key=normalisation.key,
            others=partial(others, normalisation),
            handed_on=partial(handed_on, normalisation),
        )
        lookups = LiveLookups([row])
        for asked, first in {
            "team+Tag@dots.test": "ann+Tag@local.test",
            "te.am@dots.test": "ann@local.test",
            "te.am+x@dots.test": "ann+x@local.test",
            "team@dots.test": "ann@local.test",
        }.items():
            expected = LiveReply(Presence.EXISTS, (first, "far@other.test", "no address@"), "office")
            assert ask(loop, lookups, asked) == expected
            assert lookups.known(Address.parse(asked)) == expected

    def test_an_entry_of_its_address_comes_before_one_for_the_whole_domain(self, loop):
        """As in a table: the one that a subaddress belongs to may have other targets than the rest of the domain, or be excluded."""

        class CatchAll(Source):
            async def lookup(self, address):
                answer = await super().lookup(address)
                if answer.presence is Presence.EXISTS or address.local == "gone":
                    return answer
                return LiveAnswer(Presence.EXISTS, (f"all.{address.local}@far.test",), whole_domain=True)

        normalisation = Normalisation("+", None, ["local.test"])
        source = CatchAll("team@local.test", targets=("ann@local.test",))
        handing_on = partial(handed_on, normalisation)
        lookups = LiveLookups([live_row("office", source, others=partial(others, normalisation), handed_on=handing_on)])
        for asked, expected in {
            "team+x@local.test": LiveReply(Presence.EXISTS, ("ann+x@local.test",), "office"),
            "any+x@local.test": LiveReply(Presence.EXISTS, ("all.any+x@far.test",), "office"),
            "gone+x@local.test": LiveReply(Presence.ABSENT, (), "office"),
        }.items():
            assert ask(loop, lookups, asked) == expected
            assert lookups.known(Address.parse(asked)) == expected

    def test_an_outage_at_one_server_of_a_source_says_nothing_of_the_others(self, loop):
        lookups = LiveLookups([hops(Hops("ann@local.test", away=["away.test"]))])
        for number in range(2 * FAILURES):
            assert ask(loop, lookups, f"a{number}@away.test").presence is Presence.UNKNOWN
        assert ask(loop, lookups, "ann@local.test").presence is Presence.EXISTS

    def test_an_outage_at_one_server_is_not_over_when_another_one_answers(self, loop):
        source, said = Hops("ann@local.test", away=["local.test"]), []
        lookups = LiveLookups([hops(source)], lambda state: said.append(state.error))
        for number in range(2 * FAILURES):
            ask(loop, lookups, f"a{number}@other.test")
            ask(loop, lookups, f"a{number}@local.test")
            assert lookups.report()[0].error == "local.test is away"
        assert said == ["", "local.test is away"]
        source.away.clear()
        loop.advance(loop.now_ms + round(OPEN_TIME * 1000))
        ask(loop, lookups, "ann@local.test")
        assert (lookups.report()[0].error, said[2:]) == ("", [""])

    def test_each_server_that_goes_is_said_and_the_source_is_back_when_all_are(self, loop):
        source, said = Hops(away="bcdef"), []
        lookups = LiveLookups([hops(source)], lambda state: said.append(state.error))
        for server in "bcdef":
            ask(loop, lookups, f"ann@{server}")
        assert said[:3] == ["b is away", "b is away; c is away", "b is away; c is away; d is away"]
        assert said[-1] == lookups.report()[0].error == "b is away; c is away; d is away; and 2 more"
        for server in "bcde":
            source.away.remove(server)
            ask(loop, lookups, f"bob@{server}")
        assert (len(said), lookups.report()[0].error) == (5, "f is away")
        source.away.clear()
        ask(loop, lookups, "bob@f")
        assert said[5:] == [""]

    def test_a_server_without_an_answer_in_time_is_named(self, loop):
        source = Source()
        source.hangs = True
        lookups = LiveLookups([hops(source)])
        ask(loop, lookups, "ann@local.test")
        assert lookups.report()[0].error == "local.test: no answer within 5 s"

    def test_a_server_that_answers_nothing_but_errors_is_shown_though_another_one_answers(self, loop):
        source = Odd("ann@local.test")
        lookups = LiveLookups([hops(source)])
        ask(loop, lookups, "ann@local.test")
        ask(loop, lookups, "odd@other.test")
        assert lookups.report()[0].error == "a value is of another type"

    def test_what_a_source_cannot_say_of_one_address_is_no_outage(self, loop):
        class Unsure(Source):
            async def lookup(self, address):
                await super().lookup(address)
                return LiveAnswer(Presence.UNKNOWN)

        source = Unsure()
        lookups = LiveLookups([live_row("hops", source)])
        for _ in range(2 * FAILURES):
            assert ask(loop, lookups, "ann@local.test").presence is Presence.UNKNOWN
        assert len(source.asked) == 2 * FAILURES
        assert lookups.report()[0].counts == {"unknown": 2 * FAILURES}


class Odd(Source):
    """Answers with an error, after `error_after` seconds, or not at all, where an address begins with `odd`."""

    error_after: float | None = 0.0

    async def lookup(self, address: Address) -> LiveAnswer:
        if str(address).startswith("odd"):
            self.asked.append(str(address))
            if self.error_after is None:
                await asyncio.get_running_loop().create_future()
            await asyncio.sleep(self.error_after)
            raise LookupFailedError("a value is of another type")
        return await super().lookup(address)


class TestQuestionsThatFail:
    def test_addresses_at_which_a_source_fails_hold_back_nobody(self, loop):
        source, changes = Odd("ann@local.test"), []
        lookups = LiveLookups([live_row("office", source)], changes.append)
        assert ask(loop, lookups, "bob@local.test").presence is Presence.ABSENT
        before = len(changes)
        for number in range(3 * FAILURES):
            assert ask(loop, lookups, f"odd{number}@local.test") == LiveReply(Presence.UNKNOWN, (), "office")
        assert ask(loop, lookups, "ann@local.test").presence is Presence.EXISTS
        (state,) = lookups.report()
        assert (state.error, changes[before:]) == ("", [])
        assert state.counts == {"absent": 1, "exists": 1, "error": 3 * FAILURES}

    def test_a_source_that_has_answered_nothing_but_errors_is_shown(self, loop):
        source, changes = Odd("ann@local.test"), []
        lookups = LiveLookups([live_row("office", source)], lambda state: changes.append(state.error))
        for number in range(FAILURES):
            ask(loop, lookups, f"odd{number}@local.test")
        assert changes == ["a value is of another type"]
        ask(loop, lookups, "ann@local.test")
        assert changes[1:] == [""]
        loop.advance(loop.now_ms + round(FAILING_TIME * 1000))
        ask(loop, lookups, "odd@local.test")
        assert changes[2:] == ["a value is of another type"]

    def test_an_address_that_existed_exists_while_its_question_fails(self, loop):
        source = Odd("odd@local.test")
        source.lookup = super(Odd, source).lookup
        lookups = LiveLookups([live_row("office", source)])
        assert ask(loop, lookups, "odd@local.test").presence is Presence.EXISTS
        del source.lookup
        loop.advance(loop.now_ms + 1000_000)
        assert ask(loop, lookups, "odd@local.test").presence is Presence.EXISTS

    def test_an_error_that_takes_most_of_the_time_is_an_outage(self, loop):
        source = Odd()
        source.error_after = 3.0
        lookups = LiveLookups([live_row("office", source, timeout=5)])
        for number in range(FAILURES):
            ask(loop, lookups, f"odd{number}@local.test")
        assert ask(loop, lookups, "ann@local.test").presence is Presence.UNKNOWN
        assert lookups.report()[0].counts["refused"] == 1

    def test_a_question_without_an_answer_is_no_outage_while_others_have_theirs(self, loop):
        source = Odd("ann@local.test", delay=0.2)
        source.error_after = None
        lookups = LiveLookups([live_row("office", source, timeout=1)])

        async def both():
            odd = [lookups.ask(Address.parse(f"odd{number}@local.test")) for number in range(2 * FAILURES)]
            return await asyncio.gather(lookups.ask(ANN), *odd)

        assert {reply.presence for reply in run(loop, both())[1:]} == {Presence.UNKNOWN}
        assert ask(loop, lookups, "bob@local.test").presence is Presence.ABSENT


class TestDeadlines:
    def test_many_lookups_on_their_way_have_few_timers(self, loop):
        """Each caller has one; the sources' limits add two, however many lookups there are."""
        source = Source()
        source.hangs = True
        lookups = LiveLookups([live_row("office", source, timeout=1, concurrency=1000)])
        asked = [loop.create_task(lookups.ask(Address.parse(f"a{number}@local.test"))) for number in range(100)]
        loop.settle()
        assert source.running == 100
        assert len(loop._timers) <= 102
        loop.advance(loop.now_ms + 1100)
        assert source.running == 0
        assert {task.result().presence for task in asked} == {Presence.UNKNOWN}
        assert lookups.report()[0].counts["failed"] == 100

    def test_calls_come_in_their_order_at_their_times(self, loop):
        called = []
        asyncio._set_running_loop(loop)
        deadlines = Deadlines(1.0)
        kept = deadlines.begin(lambda: called.append("first"))
        taken_back = deadlines.begin(lambda: called.append("taken back"))
        asyncio._set_running_loop(None)
        loop.advance(loop.now_ms + 500)
        asyncio._set_running_loop(loop)
        deadlines.begin(lambda: called.append("second"))
        deadlines.end(taken_back)
        asyncio._set_running_loop(None)
        loop.advance(loop.now_ms + 501)
        assert (called, kept in deadlines) == (["first"], False)
        loop.advance(loop.now_ms + 500)
        assert called == ["first", "second"]

    def test_a_lookup_that_is_given_up_as_its_time_is_over_is_given_up(self, loop):
        """Both cancel the task: who closes must not wait for one that goes on."""
        source = Source()
        source.hangs = True
        lookups = LiveLookups([live_row("office", source, timeout=1)])
        asked = loop.create_task(lookups.ask(ANN))
        loop.advance(loop.now_ms + 999)
        loop.call_later(0.001, lambda: loop.create_task(lookups.close()))
        loop.advance(loop.now_ms + 1000)
        assert (asked.done(), source.running) == (True, 0)


class Wire:
    """The other end of a client: transport and connections, without sockets."""

    def __init__(self, loop):
        self.loop, self.refuses, self.attempts, self.digest = loop, False, 0, "ours"
        self.protocol, self.requests, self.asked, self.writes = None, [], [], 0
        self._frames = Frames(LONGEST_REQUEST)

    async def connect(self, factory):
        self.attempts += 1
        if self.refuses:
            raise ConnectionRefusedError
        self._frames = Frames(LONGEST_REQUEST)
        self.protocol = factory()
        self.protocol.connection_made(self)
        self.loop.call_soon(self.greet, self.protocol)
        return self, self.protocol

    def greet(self, protocol):
        if protocol is self.protocol and self.digest is not None:
            protocol.data_received(greeting(self.digest))

    def write(self, octets):
        self.writes += 1
        for number, content in self._frames.feed(octets):
            self.requests.append(read_request(content))
            self.asked.append((number, self.requests[-1].address))

    def abort(self):
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            self.loop.call_soon(protocol.connection_lost, None)

    def say(self, number, reply):
        self.protocol.data_received(answer(number, reply))


@pytest.fixture
def wire(loop):
    return Wire(loop)


@pytest.fixture
def live(loop, wire, tmp_path):
    made = LiveClient(loop, tmp_path / "live", "ours", 5.0, connect=wire.connect)
    made.start()
    loop.settle()
    yield made
    made.close()
    loop.settle()


class TestClient:
    def test_thousands_are_on_their_way_and_answered_in_any_order(self, loop, wire, live):
        replies = [live.lookup(Address.parse(f"a{number}@local.test")) for number in range(5000)]
        timers = len(loop._timers)
        loop.settle()
        for number, text in reversed(wire.asked):
            wire.say(number, LiveReply(Presence.EXISTS, (text,)))
        assert [reply.result().targets[0] for reply in replies] == [f"a{number}@local.test" for number in range(5000)]
        assert (timers, wire.writes) == (1, 1)
        assert not live._waiting

    def test_there_is_a_most(self, wire, live, monkeypatch):
        monkeypatch.setattr(client_module, "MOST", 10)
        replies = [live.lookup(ANN) for _ in range(11)]
        assert [reply.done() for reply in replies] == [False] * 10 + [True]
        assert replies[-1].result() == UNKNOWN

    def test_one_client_leaves_room_for_the_others(self, loop, wire, live, monkeypatch):
        monkeypatch.setattr(client_module, "MOST", 100)

        def asked_by(client):
            """How many lookups it has on their way when it wants many."""
            return [live.lookup(ANN, client).done() for _ in range(150)].count(False)

        assert [asked_by(f"192.0.2.{number}") for number in range(3)] == [9, 8, 7]
        assert asked_by("2001:db8::1") == 7
        assert asked_by("2001:db8::2") == 0, "of the same /64"
        loop.settle()
        for number, _ in wire.asked[:10]:
            wire.say(number, LiveReply(Presence.ABSENT))
        assert asked_by("192.0.2.0") == 7, "as many as the last one, which was left as much"
        assert asked_by("") == 100 - 9 - 8 - 7 - 7 + 10 - 7, "one who is not counted may have what is left"
        assert live.lookup(ANN).result() == UNKNOWN
        loop.advance(loop.now_ms + 5001)
        assert (asked_by("192.0.2.9"), len(live._of_client)) == (9, 1)

    def test_each_client_is_named_as_its_lookups_are_counted(self, loop, wire, live):
        live.lookup(ANN, "2001:db8::1:2:3:4")
        loop.settle()
        assert wire.requests == [Request("ann@local.test", "2001:db8::")]

    def test_no_answer_in_time_is_unknown(self, loop, wire, live):
        first = live.lookup(ANN)
        loop.advance(loop.now_ms + 3000)
        second = live.lookup(BOB)
        loop.advance(loop.now_ms + 2001)
        assert first.result() == UNKNOWN
        assert not second.done()
        loop.advance(loop.now_ms + 3000)
        assert second.result() == UNKNOWN
        wire.say(wire.asked[0][0], LiveReply(Presence.ABSENT))

    def test_one_who_waits_no_more_disturbs_nobody(self, loop, wire, live):
        first, second = live.lookup(ANN), live.lookup(BOB)
        first.cancel()
        loop.settle()
        for number, _ in wire.asked:
            wire.say(number, LiveReply(Presence.ABSENT))
        assert second.result().presence is Presence.ABSENT

    def test_lookups_survive_a_directory_process_that_is_started_again(self, loop, wire, live):
        reply = live.lookup(ANN)
        wire.refuses = True
        wire.abort()
        loop.settle()
        late = live.lookup(BOB)
        loop.advance(loop.now_ms + 500)
        assert not reply.done()
        wire.refuses = False
        loop.advance(loop.now_ms + 500)
        assert sorted(text for _, text in wire.asked) == ["ann@local.test", "ann@local.test", "bob@local.test"]
        for number, _ in wire.asked[1:]:
            wire.say(number, LiveReply(Presence.EXISTS))
        assert reply.result().presence is late.result().presence is Presence.EXISTS

    def test_a_directory_process_with_other_sources_is_asked_nothing(self, loop, wire, live):
        """As in a reload, while that of before still runs: what its sources do not have may exist."""
        wire.digest = "other"
        wire.abort()
        loop.advance(loop.now_ms + 500)
        reply = live.lookup(ANN)
        loop.advance(loop.now_ms + 500)
        assert (wire.asked, reply.done(), live.differs) == ([], False, True)
        wire.digest = "ours"
        loop.advance(loop.now_ms + 1000)
        assert [text for _, text in wire.asked] == ["ann@local.test"]
        wire.say(wire.asked[0][0], LiveReply(Presence.ABSENT))
        assert reply.result().presence is Presence.ABSENT
        assert not live.differs

    def test_other_sources_that_stay_are_unknown_soon_and_then_at_once(self, loop, wire, live):
        wire.digest = "other"
        wire.abort()
        loop.settle()
        reply = live.lookup(ANN)
        loop.advance(loop.now_ms + round(GRACE * 1000) + 1000)
        assert reply.result() == UNKNOWN
        assert live.lookup(BOB).result() == UNKNOWN
        assert wire.asked == []

    def test_one_that_does_not_say_which_sources_it_has_is_asked_nothing(self, loop, wire, live):
        wire.digest = None
        wire.abort()
        loop.advance(loop.now_ms + 500)
        reply = live.lookup(ANN)
        loop.advance(loop.now_ms + 5001)
        assert reply.result() == UNKNOWN
        assert wire.asked == []

    def test_without_a_directory_process_all_is_unknown_soon_and_then_at_once(self, loop, wire, live):
        wire.refuses = True
        reply = live.lookup(ANN)
        wire.abort()
        loop.advance(loop.now_ms + round(GRACE * 1000) + 1000)
        assert reply.result() == UNKNOWN
        assert live.lookup(BOB).result() == UNKNOWN
        attempts = wire.attempts
        loop.advance(loop.now_ms + 60_000)
        assert 50 <= wire.attempts - attempts <= 70, "once a second"
        wire.refuses = False
        loop.advance(loop.now_ms + 1000)
        assert wire.protocol is not None
        assert not live.lookup(BOB).done()

    @pytest.mark.parametrize("said", [b"\xff" * 8, struct.pack("!II", 1, 1) + b"\x09", struct.pack("!II", 0, 1)])
    def test_garbage_ends_the_connection_and_another_one_is_made(self, loop, wire, live, said):
        reply = live.lookup(ANN)
        wire.protocol.data_received(said)
        loop.advance(loop.now_ms + 200)
        assert wire.protocol is not None
        assert wire.attempts == 2
        assert not reply.done()

    def test_the_end_answers_what_waits(self, loop, live):
        reply = live.lookup(ANN)
        live.close()
        assert reply.result() == UNKNOWN
        assert live.lookup(BOB).result() == UNKNOWN


def really(tmp_path, case, *rows):
    """Run `case(client, server)` on uvloop, with both ends of a socket."""

    async def main():
        server = LiveServer(tmp_path / "live", "ours", LiveLookups(rows))
        await server.start()
        client = LiveClient(asyncio.get_running_loop(), tmp_path / "live", "ours", 300.0)
        client.start()
        try:
            await case(client, server)
        finally:
            client.close()
            await server.close()

    uvloop.run(main())


class TestSocket:
    def test_a_lookup_is_answered(self, tmp_path):
        async def case(client, _server):
            assert await client.lookup(ANN) == LiveReply(Presence.EXISTS, ("ann@in.test",), "office")
            assert (await client.lookup(BOB)).presence is Presence.ABSENT
            assert await client.lookup(ANN) == LiveReply(Presence.EXISTS, ("ann@in.test",), "office")

        really(tmp_path, case, live_row("office", Source("ann@local.test", targets=("ann@in.test",))))

    def test_the_socket_is_for_the_account_alone(self, tmp_path):
        async def case(_client, _server):
            mode = (tmp_path / "live").stat().st_mode
            assert stat.S_ISSOCK(mode)
            assert stat.S_IMODE(mode) == 0o600

        really(tmp_path, case)

    def test_ten_thousand_at_once(self, tmp_path):
        async def case(client, _server):
            asked = [client.lookup(Address.parse(f"a{number}@local.test")) for number in range(10_000)]
            replies = await asyncio.gather(*asked)
            assert {reply.presence for reply in replies} == {Presence.ABSENT}

        really(tmp_path, case, live_row("office", Source(), timeout=60.0, concurrency=1000))

    @pytest.mark.parametrize(
        "said", [b"GET / HTTP/1.1\r\n\r\n", struct.pack("!II", 2, 1) + b"\xff\xfe", b"\xff" * 100_000]
    )
    def test_a_stranger_to_the_protocol_is_disconnected(self, tmp_path, said):
        async def case(client, _server):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "live")
            writer.write(said)
            with suppress(ConnectionError):
                assert await reader.read() in (b"", greeting("ours"))
            writer.close()
            assert (await client.lookup(BOB)).presence is Presence.ABSENT

        really(tmp_path, case, live_row("office", Source()))

    def test_one_who_takes_no_answers_is_read_no_more(self, tmp_path):
        async def case(client, server):
            await client.lookup(ANN)
            _reader, writer = await asyncio.open_unix_connection(tmp_path / "live", limit=1)
            writer.transport.set_write_buffer_limits(high=0)
            frame = request(1, "ann@local.test") * 1000

            async def flood():
                while True:
                    writer.write(frame)
                    await writer.drain()

            with pytest.raises(TimeoutError):
                await asyncio.wait_for(flood(), 1.0)
            deaf = list(server.open)[-1]
            assert deaf._is_deaf
            assert deaf._transport.get_write_buffer_size() < (1 << 24), "the answers to one read"
            assert (await client.lookup(ANN)).presence is Presence.EXISTS
            writer.transport.abort()

        really(tmp_path, case, live_row("office", Source("ann@local.test", targets=tuple(["a@in.test"] * 50))))

    def test_answers_that_come_together_are_one_write(self, tmp_path):
        class Together(Source):
            def __init__(self):
                super().__init__("a0@local.test")
                self.all_asked, self.come = asyncio.Event(), asyncio.Event()

            async def lookup(self, address):
                self.asked.append(str(address))
                if len(self.asked) == 50:
                    self.all_asked.set()
                await self.come.wait()
                return await super().lookup(address)

        class Counting:
            writes = 0

            def __init__(self, transport):
                self.transport = transport

            def write(self, octets):
                self.writes += 1
                self.transport.write(octets)

            def __getattr__(self, name):
                return getattr(self.transport, name)

        source = Together()

        async def case(client, server):
            asked = [client.lookup(Address.parse(f"a{number}@local.test")) for number in range(50)]
            await source.all_asked.wait()
            (connection,) = server.open
            counting = connection._transport = Counting(connection._transport)
            source.come.set()
            assert (await asyncio.gather(*asked))[0].presence is Presence.EXISTS
            assert counting.writes == 1

        really(tmp_path, case, live_row("office", source, concurrency=50))

    def test_what_is_no_address_is_unknown(self, tmp_path):
        async def case(_client, _server):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "live")
            writer.write(request(9, "no address"))
            assert await reader.readexactly(len(greeting("ours"))) == greeting("ours")
            octets = await reader.readexactly(len(answer(9, UNKNOWN)))
            assert octets == answer(9, UNKNOWN)
            writer.close()

        really(tmp_path, case, live_row("office", Source()))

    def test_a_fault_of_a_source_is_unknown(self, tmp_path):
        class Broken(Source):
            async def lookup(self, address):
                raise RuntimeError(str(address))

        async def case(client, _server):
            faults = []
            asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context["message"]))
            assert await client.lookup(ANN) == UNKNOWN
            await asyncio.sleep(0)
            assert faults == ["a live lookup failed"]

        really(tmp_path, case, live_row("office", Broken()))

    def test_the_server_goes_and_comes_back_in_the_middle(self, tmp_path):
        source = Source("ann@local.test", delay=0.05)

        async def case(client, server):
            await client.lookup(ANN)
            waiting = [client.lookup(Address.parse(f"a{number}@local.test")) for number in range(100)]
            await asyncio.sleep(0.01)
            await server.close()
            again = LiveServer(tmp_path / "live", "ours", LiveLookups([live_row("office", source)]))
            await again.start()
            replies = await asyncio.gather(*waiting)
            assert {reply.presence for reply in replies} == {Presence.ABSENT}
            await again.close()

        really(tmp_path, case, live_row("office", source))


def test_a_refusal_that_is_longer_than_a_request_is_cut_off():
    """It says at its beginning what it is; without it, a next hop that refuses late would not be found out."""
    long = "550-5.1.1 " + "ü" * LONGEST_REQUEST
    [(number, content)] = Frames(LONGEST_REQUEST).feed(request(7, "ann@local.test", "", long))
    asked = read_request(content)
    assert (number, asked.address) == (7, "ann@local.test")
    assert long.startswith(asked.refusal)
    assert LONGEST_REQUEST - 40 < len(content) <= LONGEST_REQUEST
