"""Ages of messages while the calendar jumps."""

import pytest

from mailmoat import clock
from mailmoat.runtime.ages import TRUST_AFTER, Ages

DAY = 86_400_000


@pytest.fixture
def time(monkeypatch):
    class Time:
        steady, jumped = 1_000_000, 50 * DAY

        def ages(self):
            return Ages()

    made = Time()
    monkeypatch.setattr(clock, "monotonic_ms", lambda: made.steady)
    monkeypatch.setattr(clock, "monotonic", lambda: made.steady / 1000)
    monkeypatch.setattr(clock, "wall_ms", lambda: made.steady + made.jumped)
    return made


def test_time_that_passes_is_believed_and_so_is_a_clock_that_is_adjusted(time):
    ages = time.ages()
    for _ in range(1000):
        time.steady += 3_600_000
        time.jumped += 1_000
        assert ages.now_ms() == clock.wall_ms()


def test_a_jump_forward_that_is_taken_back_made_nothing_older(time):
    ages = time.ages()
    before = ages.now_ms()
    time.jumped += DAY
    assert ages.now_ms() == before
    time.steady += DAY - 1
    assert ages.now_ms() == before + DAY - 1
    time.jumped -= DAY
    assert ages.now_ms() == clock.wall_ms() == before + DAY - 1


def test_a_jump_forward_that_lasts_is_believed_at_last(time):
    ages = time.ages()
    time.jumped += DAY
    ages.now_ms()
    time.steady += round(TRUST_AFTER * 1000)
    assert ages.now_ms() == clock.wall_ms()


def test_a_jump_back_counts_at_once(time):
    ages = time.ages()
    time.jumped -= DAY
    assert ages.now_ms() == clock.wall_ms()
