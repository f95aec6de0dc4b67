"""One query for all who ask the same: the line for room, whatever asks through it."""

from __future__ import annotations

import asyncio

import pytest
from tests.doubles.loop import VirtualLoop

from mailmoat.upstream.single_flight import SingleFlight, Unanswered


class Counted(str):
    """A share that counts how often it is looked up."""

    __slots__ = ()
    looked_up = 0

    def __hash__(self) -> int:
        Counted.looked_up += 1
        return super().__hash__()


@pytest.fixture
def loop():
    made = VirtualLoop()
    yield made
    assert made.faults == []


def looked_up(loop, lookups):
    """How often the share of so many lookups, all of one next hop, is looked up until all have their answers."""

    async def ask(_key):
        await asyncio.sleep(0.01)

    async def all_of_them():
        flights = SingleFlight(ask, 8)
        shares = (Counted("hop.test"),)
        await asyncio.gather(*(flights.answer(number, 3600.0, shares) for number in range(lookups)))

    Counted.looked_up = 0
    task = loop.create_task(all_of_them())
    while not task.done():
        loop.advance(loop.now_ms + 5)
    task.result()
    return Counted.looked_up


def test_a_long_line_costs_each_lookup_no_more_than_a_short_one(loop):
    assert looked_up(loop, 1600) <= 10 * looked_up(loop, 200)


def test_the_line_is_left_in_its_order_whatever_a_query_counts_to(loop):
    begun = []

    async def ask(key):
        begun.append(key)
        await asyncio.sleep(1)
        return key

    async def all_of_them():
        flights = SingleFlight(ask, 2)
        asked = [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("a4", "a"), ("b2", "b")]
        return await asyncio.gather(*(flights.answer(key, 60.0, (share,)) for key, share in asked))

    task = loop.create_task(all_of_them())
    loop.settle()
    assert begun == ["a1", "b1"]
    loop.advance(loop.now_ms + 10_000)
    assert task.result() == ["a1", "a2", "a3", "b1", "a4", "b2"]
    assert [key for key in begun if key[0] == "a"] == ["a1", "a2", "a3", "a4"]
    assert [key for key in begun if key[0] == "b"] == ["b1", "b2"]


def test_one_who_gives_up_in_the_line_leaves_its_place_to_no_one(loop):
    async def ask(_key):
        await asyncio.sleep(1)
        return "answer"

    async def all_of_them():
        flights = SingleFlight(ask, 1)
        first = asyncio.create_task(flights.answer(1, 60.0))
        hasty = asyncio.create_task(flights.answer(2, 0.5))
        last = asyncio.create_task(flights.answer(3, 60.0))
        return await hasty, 2 in flights, await first, await last, len(flights)

    task = loop.create_task(all_of_them())
    loop.advance(loop.now_ms + 5000)
    assert task.result() == (Unanswered.NO_ROOM, False, "answer", "answer", 0)


def test_lines_have_room_in_turns_however_long_they_are_and_who_is_late(loop):
    begun = []

    async def ask(key):
        begun.append(key)
        await asyncio.sleep(1)

    async def all_of_them():
        flights = SingleFlight(ask, 1)
        long = [
            asyncio.create_task(flights.answer(f"{share}{number}", 60.0, (share,)))
            for share in "ab"
            for number in range(8)
        ]
        await asyncio.sleep(2.5)
        await asyncio.gather(*(flights.answer(f"{share}0", 60.0, (share,)) for share in "cd"))
        await asyncio.gather(*long)

    task = loop.create_task(all_of_them())
    loop.advance(loop.now_ms + 30_000)
    task.result()
    assert begun[:9] == ["a0", "a1", "b0", "a2", "b1", "c0", "d0", "a3", "b2"]


@pytest.mark.parametrize("keeps_room", [True, False])
def test_what_nobody_waits_for_keeps_its_room_where_that_is_a_connection(loop, keeps_room):
    running = []

    async def ask(key):
        running.append(key)
        await asyncio.sleep(10)
        return key

    async def all_of_them():
        flights = SingleFlight(ask, 1, keeps_room=keeps_room)
        assert await flights.answer("slow", 1.0) is Unanswered.BUDGET
        other = asyncio.create_task(flights.answer("other", 60.0))
        await asyncio.sleep(1)
        assert running == (["slow"] if keeps_room else ["slow", "other"])
        if keeps_room:
            assert await flights.answer("slow", 60.0) == "slow"
        assert await other == "other"
        assert (len(flights), flights._room) == (0, 1)

    task = loop.create_task(all_of_them())
    loop.advance(loop.now_ms + 60_000)
    task.result()


def test_who_asks_what_waits_in_the_line_of_another_does_not_wait_there(loop):
    async def ask(key):
        await asyncio.sleep(1)
        return key

    async def all_of_them():
        flights = SingleFlight(ask, 2)
        waiting = [asyncio.create_task(flights.answer(number, 60.0, ("a",))) for number in range(10)]
        await asyncio.sleep(0)
        begun = loop.time()
        assert await flights.answer(9, 60.0, ("b",)) == 9
        assert loop.time() - begun == 1
        more = [asyncio.create_task(flights.answer(number, 60.0, ("b",))) for number in range(7, 10)]
        assert await asyncio.gather(*waiting, *more) == [*range(10), 7, 8, 9]
        assert (flights._lines, flights._taken, flights._room) == ({}, {}, 2)

    task = loop.create_task(all_of_them())
    loop.advance(loop.now_ms + 60_000)
    task.result()
