"""Reading at one server after the other: which one, from which cookie on, and when it is an outage."""

import asyncio
from contextlib import aclosing
from itertools import pairwise

import pytest
from tests.doubles.loop import VirtualLoop

from mailmoat import clock
from mailmoat.directory import preference
from mailmoat.directory.failover import follow
from mailmoat.directory.preference import FIRST_PAUSE, Preference
from mailmoat.directory.source import Begin, Current, Delta, Using
from mailmoat.errors import SourceError


def read(plan, servers="ab", most=20):
    """Return the servers that were read, each with its cookie, and the steps. `plan` has what each visit of a server does: its steps, then an error or not."""
    visits, steps = [], []
    left = {server: list(runs) for server, runs in plan.items()}

    async def steps_at(server, cookie):
        visits.append((server, cookie))
        for what in left[server].pop(0):
            if isinstance(what, str):
                raise SourceError(what)
            yield what

    async def returns(server):
        return server == "b" and bool(left["a"])

    async def main():
        async with aclosing(follow(Preference(servers), b"0", steps_at, returns)) as found:
            async for step in found:
                steps.append(step)
                assert len(steps) < most

    try:
        asyncio.run(main())
    except SourceError as error:
        return visits, steps, str(error)
    return visits, steps, None


def test_a_server_whose_steps_end_ends_the_read():
    assert read({"a": [[Begin(), Current(b"1")]], "b": []}) == ([("a", b"0")], [Begin(), Current(b"1")], None)


def test_the_next_server_goes_on_from_the_last_cookie():
    visits, steps, error = read({"a": [[Current(b"1"), "a is away"]], "b": [[Current(b"2")]]})
    assert visits == [("a", b"0"), ("b", b"1")]
    assert steps == [Current(b"1"), Current(b"2")]
    assert error is None


@pytest.mark.parametrize("servers", ["a", "ab"])
def test_it_is_an_outage_when_each_failed_since_one_served(servers):
    visits, _, error = read({"a": [["a is away"]], "b": [[Begin(), "b is away"]]}, servers)
    assert [server for server, _ in visits] == list(servers)
    assert error == "; ".join(f"{server} is away" for server in servers)


def test_servers_that_break_off_within_a_change_did_not_serve():
    part = Delta((), (), b"0", more=True)
    visits, steps, error = read({"a": [[part, "a is away"]], "b": [[part, "b is away"]]})
    assert (visits, steps) == ([("a", b"0"), ("b", b"0")], [part, part])
    assert error == "a is away; b is away"


def test_a_server_that_failed_before_another_served_is_tried_again():
    visits, _, error = read({"a": [["a is away"], ["a is still away"]], "b": [[Current(b"1"), "b is away"]]})
    assert visits == [("a", b"0"), ("b", b"0"), ("a", b"1")]
    assert error == "b is away; a is still away"


def test_a_preferred_server_that_serves_again_is_read_at_once(monkeypatch):
    monkeypatch.setattr(preference, "FIRST_PAUSE", 0.0)
    visits, steps, error = read({"a": [["a is away"], [Current(b"2")]], "b": [[Current(b"1")]]})
    assert visits == [("a", b"0"), ("b", b"0"), ("a", b"1")]
    assert steps == [Current(b"1"), Current(b"2")]
    assert error is None


@pytest.mark.parametrize("serves", [0.0, FIRST_PAUSE])
def test_servers_that_each_serve_for_a_moment_and_fail_are_tried_more_and_more_seldom(monkeypatch, serves):
    loop = VirtualLoop()
    monkeypatch.setattr(clock, "monotonic", loop.time)
    visits = []

    async def steps_at(server, cookie):
        visits.append((server, loop.time()))
        yield Current(b"1")
        await asyncio.sleep(serves)
        raise SourceError(f"{server} is away")

    async def never(_server):
        return False

    async def main():
        async with aclosing(follow(Preference("ab"), None, steps_at, never)) as found:
            async for _ in found:
                pass

    task = loop.create_task(main())
    loop.advance(loop.now_ms + 24 * 3_600_000)
    assert not task.done(), task.exception()
    task.cancel()
    loop.advance(loop.now_ms + 1)
    assert [server for server, _ in visits[:4]] == ["a", "b", "a", "b"]
    times = [time for _, time in visits]
    waits = [round(after - before) for before, after in pairwise(times)]
    if serves:
        assert set(waits) == {FIRST_PAUSE}, "a server that serves for a while is followed at once"
    else:
        assert waits[:8] == [0, 0, 1, 2, 4, 8, FIRST_PAUSE, FIRST_PAUSE]
        assert set(waits[6:]) == {FIRST_PAUSE}, "for as long as it goes on"


def test_it_is_said_why_a_preferred_server_is_passed_over(monkeypatch):
    monkeypatch.setattr(preference, "FIRST_PAUSE", 0.0)
    a_serves, b_serves = (Using("a"), Current(b"2")), (Using("b"), Current(b"1"))
    _, steps, _ = read({"a": [["a is away"], a_serves], "b": [b_serves]})
    assert steps == [Using("b", ("a is away",)), Current(b"1"), *a_serves]
