"""One loop timer for all deadlines: never early, in order, and nobody's fault is another's."""

import asyncio
import itertools

import pytest
import uvloop

from mailmoat import clock
from mailmoat.runtime.timers import Timers

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Owner:
    def __init__(self, seen, name, work=None):
        self.seen, self.name, self.work = seen, name, work

    def due(self):
        self.seen.append((self.name, clock.monotonic()))
        if self.work:
            self.work()


@pytest.fixture(params=sorted(LOOPS))
def run(request):
    def run(main):
        errors = []

        async def whole():
            loop = asyncio.get_running_loop()
            timers = Timers(loop, errors.append)
            done = loop.create_future()
            await main(timers, lambda: done.done() or done.set_result(None), done)
            timers.close()

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(asyncio.wait_for(whole(), 20))
        return errors

    return run


def test_never_early(run):
    seen, wanted = [], {}

    async def main(timers, finish, done):
        for number in range(200):
            seconds = 0.0007 * number + 0.0003
            # The loop's cached clock is stale by now: this must not make a deadline early.
            stop = clock.monotonic() + 0.0002
            while clock.monotonic() < stop:
                pass
            wanted[number] = clock.monotonic() + seconds
            timers.after(seconds, Owner(seen, number))
        timers.after(0.3, Owner([], "last", finish))
        await done

    assert run(main) == []
    assert sorted(name for name, _ in seen) == list(range(200))
    late = sorted(at - wanted[name] for name, at in seen)
    assert late[0] >= 0  # how late is the machine's business


def test_in_order_of_deadline_then_of_scheduling(run):
    seen = []

    async def main(timers, finish, done):
        now = clock.monotonic_ms()
        for name, after in (("d", 30), ("a", 10), ("e", 30), ("b", 20), ("c", 20)):
            timers.call_at_ms(now + after, Owner(seen, name))
        timers.call_at_ms(now + 31, Owner(seen, "f", finish))
        await done

    run(main)
    assert "".join(name for name, _ in seen) == "abcdef"


def test_an_owner_that_raises_costs_nobody_else(run):
    seen = []

    def fail():
        raise RuntimeError("mine alone")

    async def main(timers, finish, done):
        at = clock.monotonic_ms() + 5
        timers.call_at_ms(at, Owner(seen, "bad", fail))
        timers.call_at_ms(at, Owner(seen, "good"))
        timers.call_at_ms(at + 5, Owner(seen, "later", finish))
        await done

    errors = run(main)
    assert [str(error) for error in errors] == ["mine alone"]
    assert [name for name, _ in seen] == ["bad", "good", "later"]


def test_an_earlier_deadline_and_a_past_one_are_armed_for(run):
    seen = []

    async def main(timers, finish, done):
        timers.after(3600, Owner(seen, "never"))
        timers.after(0.01, Owner(seen, "soon", lambda: timers.call_at_ms(-5, Owner(seen, "past", finish))))
        timers.call_at_ms(0, Owner(seen, "at once"))
        assert seen == []  # due, but never called from within
        await done
        assert len(timers) == 1

    run(main)
    assert [name for name, _ in seen] == ["at once", "soon", "past"]


def test_cancelled_is_forgotten_and_the_rest_still_come(run):
    seen = []

    async def main(timers, finish, done):
        keys = [timers.after(0.005, Owner(seen, "no")) for _ in range(10)]
        assert all(keys)
        timers.after(0.3, Owner(seen, "yes", finish))  # another level: the wakening for the cancelled ones must find it
        assert all(timers.cancel(key) for key in keys)
        assert not any(timers.cancel(key) for key in keys)
        await done

    run(main)
    assert [name for name, _ in seen] == ["yes"]


def test_closing_ends_it_even_from_an_owner(run):
    seen = []

    async def main(timers, finish, done):
        at = clock.monotonic_ms() + 2
        timers.call_at_ms(at, Owner(seen, "closer", timers.close))
        timers.call_at_ms(at, Owner(seen, "same time"))
        timers.call_at_ms(at + 3, Owner(seen, "later"))
        other = Timers(asyncio.get_running_loop(), lambda _: None)
        other.after(0.02, Owner([], "end", finish))
        await done
        timers.after(0, Owner(seen, "after close"))
        other.after(0.01, Owner([], "end", finish))

    run(main)
    assert [name for name, _ in seen] == ["closer"]


def test_fifty_thousand_at_once(run):
    seen = []

    async def main(timers, finish, done):
        at = clock.monotonic_ms() + 100
        for number in range(50_000):
            timers.call_at_ms(at + number % 7, Owner(seen, number))
        timers.call_at_ms(at + 7, Owner([], "end", finish))
        await done

    run(main)
    assert len(seen) == 50_000


class Rhythm:
    """Looks again and again, and notes when."""

    def __init__(self, timers, seconds, seen):
        self.timers, self.seconds, self.seen = timers, seconds, seen

    def due(self):
        self.seen.append(clock.monotonic_ms())
        self.timers.in_step(self.seconds, self)


def test_what_looks_in_one_rhythm_or_a_multiple_wakes_the_loop_once(monkeypatch):
    """In virtual time: wakenings of a minute, begun at odd moments and late at times."""

    class Loop:
        def call_later(self, seconds, wake):
            self.at, self.wake = now[0] + round(seconds * 1000), wake
            return self

        def cancel(self):
            pass

    now = [12_345]
    monkeypatch.setattr(clock, "monotonic_ms", lambda: now[0])
    loop, slow, fast, errors = Loop(), [], [], []
    timers = Timers(loop, errors.append)
    now[0] += 77
    Rhythm(timers, 1.0, slow).due()
    now[0] += 301
    Rhythm(timers, 0.5, fast).due()
    wakenings = 0
    while loop.at <= 12_345 + 60_000:
        now[0] = max(now[0], loop.at) + (wakenings % 7 == 3) * 130
        wakenings += 1
        loop.wake()
    assert not errors
    assert wakenings == len(fast) - 1 == 120
    assert len(slow) - 1 == 60
    assert max(after - before for before, after in itertools.pairwise(fast)) <= 500 + 130
    assert set(slow[1:]) <= set(fast)
