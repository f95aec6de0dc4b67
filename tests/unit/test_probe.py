"""When next hops are asked without a message, and what follows from the answer."""

from __future__ import annotations

import asyncio

import pytest
from tests.routes import a_route

from mailmoat.delivery.destination import Destination
from mailmoat.delivery.probe import Prober


class Transport:
    """A next hop that answers a probe when the test sets the future."""

    connections = 0

    def __init__(self):
        self.asked = []

    async def probe(self):
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]


class Learned:
    def __init__(self):
        self.is_stale, self.refreshed = False, 0

    def refresh(self):
        self.refreshed += 1

    def stale(self):
        return self.is_stale


class World:
    """A prober with two destinations; it is the router and the queue as well."""

    def __init__(self):
        self.one, self.other = self.destinations = [
            Destination(name, Transport(), a_route(connections=1), Learned()) for name in ("one", "other")
        ]
        self.told, self.waits_for = [], set()
        self.prober = Prober(asyncio.get_running_loop(), self, self)

    def reached(self, destination):
        self.told.append(("reached", destination.name))

    def unreachable(self, destination):
        self.told.append(("unreachable", destination.name))

    def strand(self, destination):
        """Nothing is due at a next hop that is away, and something waits for it."""
        destination.unreachable()
        self.waits_for.add(destination)

    def unasked(self, destination):
        return destination.away and destination in self.waits_for and not destination.rest

    async def turn(self):
        for _ in range(5):
            await asyncio.sleep(0)

    @property
    def asked(self):
        return [len(destination.transport.asked) for destination in self.destinations]


def run(case):
    def on_loop():
        asyncio.run(case())

    on_loop.__name__ = case.__name__
    return on_loop


@run
async def test_at_a_start_every_next_hop_is_asked_and_none_is_waited_for_too_long():
    w = World()
    start = asyncio.create_task(w.prober.start(0.01))
    await w.turn()
    assert w.asked == [1, 1]
    assert [destination.learned.refreshed for destination in w.destinations] == [1, 1]
    w.one.transport.asked[0].set_result(True)
    await start
    assert w.told == [("reached", "one")], "the other does not answer"


@run
async def test_one_that_cannot_be_reached_at_a_start_is_asked_again_when_something_waits_for_it():
    """What is adopted after the start was deferred by an outage that lasts: its end is noticed before the messages are due."""
    w = World()
    start = asyncio.create_task(w.prober.start(1.0))
    await w.turn()
    for destination in w.destinations:
        destination.transport.asked[0].set_result(False)
    await start
    assert w.told == [("unreachable", "one"), ("unreachable", "other")]


@run
async def test_only_what_is_away_or_not_asked_for_long_is_asked_and_by_one_question_at_a_time():
    w = World()
    w.prober.tick()
    await w.turn()
    assert w.asked == [0, 0]
    w.strand(w.one)
    w.other.learned.is_stale, w.other.active = True, 1
    for _ in range(3):
        w.prober.tick()
        await w.turn()
    assert w.asked == [1, 1]
    w.one.transport.asked[0].set_result(False)
    w.other.transport.asked[0].set_result(False)
    await w.turn()
    assert w.told == [("unreachable", "one")], "the other is in use"
    w.prober.tick()
    await w.turn()
    assert w.asked == [2, 2]
    w.one.transport.asked[1].set_result(True)
    await w.turn()
    assert w.told[-1] == ("reached", "one")


@run
async def test_one_that_may_not_be_asked_now_is_not_away():
    w = World()
    w.one.learned.is_stale = True
    w.prober.tick()
    await w.turn()
    w.one.transport.asked[0].set_result(None)
    await w.turn()
    assert w.told == [], "all connections that there may be are others'"


@run
async def test_a_destination_that_has_nothing_to_learn_is_never_asked():
    w = World()
    w.one.learned = None
    w.strand(w.one)
    w.prober.tick()
    await w.prober.start(0.0)
    assert w.asked == [0, 1]


@run
async def test_a_probe_that_raises_is_not_the_last():
    w = World()
    w.strand(w.one)
    w.prober.tick()
    await w.turn()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "call_exception_handler", lambda _: None)
        w.one.transport.asked[0].set_exception(RuntimeError("broken"))
        await w.turn()
    w.prober.tick()
    await w.turn()
    assert w.asked == [2, 0]
