"""What owners of deadlines are promised, held against the real timers in virtual time and those of unit tests, which have no clock."""

from __future__ import annotations

from unittest import mock

import pytest
from tests.doubles.loop import VirtualLoop
from tests.doubles.timers import StillTimers

from mailmoat import clock
from mailmoat.runtime.timers import Timers


class Owner:
    def __init__(self, seen: list[str], name: str) -> None:
        self.seen, self.name = seen, name

    def due(self) -> None:
        self.seen.append(self.name)


@pytest.fixture(params=["real", "still"])
def timers(request):
    """Timers, and a function that lets all deadlines pass."""
    if request.param == "still":
        still = StillTimers()
        yield still, still.pass_all
        return
    loop = VirtualLoop()
    with mock.patch.multiple(clock, monotonic=loop.time, monotonic_ms=lambda: loop.now_ms):
        yield Timers(loop, lambda error: pytest.fail(repr(error))), lambda: loop.advance(loop.now_ms + 3_600_000)


def test_each_owner_is_due_once_by_deadline(timers):
    timers, pass_all = timers
    seen = []
    keys = [timers.after(seconds, Owner(seen, str(seconds))) for seconds in (30, 10, 20, 10)]
    assert 0 not in keys
    assert len(set(keys)) == len(timers) == 4
    assert seen == []
    pass_all()
    assert seen == ["10", "10", "20", "30"]
    pass_all()
    assert (len(seen), len(timers)) == (4, 0)


def test_what_is_cancelled_is_never_due(timers):
    timers, pass_all = timers
    seen = []
    first, second = (timers.after(1, Owner(seen, name)) for name in "ab")
    assert timers.cancel(first) is True
    assert timers.cancel(first) is False
    pass_all()
    assert seen == ["b"]
    assert timers.cancel(second) is False


def test_an_owner_may_set_another_deadline(timers):
    timers, pass_all = timers
    seen = []

    class Again(Owner):
        def due(self) -> None:
            super().due()
            if len(seen) < 3:
                timers.after(1, self)

    timers.after(1, Again(seen, "again"))
    for _ in range(3):
        pass_all()
    assert seen == ["again"] * 3
