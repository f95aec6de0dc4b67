"""What the product's code asks of an event loop, held against uvloop, asyncio's own loop and the virtual one of the transcripts."""

from __future__ import annotations

import asyncio

import pytest
import uvloop
from tests.doubles.loop import VirtualLoop


@pytest.fixture(params=["virtual", "uvloop", "asyncio"])
def run(request):
    """Runs a coroutine function to its end; gives its result. A tenth of a second is long there."""

    def virtually(case):
        loop = VirtualLoop()
        task = loop.create_task(case(loop))
        loop.advance(loop.now_ms + 60_000)
        assert loop.faults == []
        return task.result()

    def really(case):
        async def main():
            return await case(asyncio.get_running_loop())

        return uvloop.run(main()) if request.param == "uvloop" else asyncio.run(main())

    return virtually if request.param == "virtual" else really


def test_what_is_ready_runs_in_the_order_it_came(run):
    async def case(loop):
        seen = []
        for name in "abc":
            loop.call_soon(seen.append, name)
        loop.call_soon(lambda: loop.call_soon(seen.append, "later"))
        dropped = loop.call_soon(seen.append, "cancelled")
        dropped.cancel()
        assert seen == []
        await asyncio.sleep(0)
        assert seen == ["a", "b", "c"]
        await asyncio.sleep(0)
        return seen

    assert run(case) == ["a", "b", "c", "later"]


def test_timers_run_by_deadline_never_early_and_not_when_they_are_cancelled(run):
    async def case(loop):
        seen, begun, over = [], loop.time(), loop.create_future()

        def due(name):
            seen.append((name, loop.time() - begun))

        loop.call_later(0.03, due, "second")
        loop.call_at(begun + 0.02, due, "first")
        dropped = loop.call_later(0.01, due, "cancelled")
        dropped.cancel()
        loop.call_later(0, due, "at once")
        loop.call_later(0.04, over.set_result, None)
        await over
        return seen

    seen = run(case)
    assert [name for name, _ in seen] == ["at once", "first", "second"]
    assert all(seconds >= least - 0.002 for (_, seconds), least in zip(seen, (0, 0.02, 0.03), strict=True))


def test_tasks_futures_and_time_limits(run):
    async def case(loop):
        answer = loop.create_future()

        async def waits():
            return await answer

        first, second = loop.create_task(waits()), loop.create_task(asyncio.sleep(5), name="second")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await second
        assert second.cancelled()
        done, waiting = await asyncio.wait((first,), timeout=0.01)
        assert (done, waiting) == (set(), {first})
        loop.call_soon(answer.set_result, 7)
        assert await asyncio.wait_for(first, 1) == 7
        assert asyncio.get_running_loop() is loop
        return asyncio.current_task() is not None

    assert run(case)


def test_a_fault_in_a_callback_costs_the_others_nothing():
    loop, seen = VirtualLoop(), []
    loop.call_soon(lambda: 1 // 0)
    loop.call_later(1, seen.append, "later")
    loop.settle()
    assert seen == []
    loop.advance(loop.now_ms + 1000)
    assert seen == ["later"]
    assert [type(fault["exception"]) for fault in loop.faults] == [ZeroDivisionError]
