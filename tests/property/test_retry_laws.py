"""The retry arithmetic keeps its promises for every schedule, age and random number."""

from hypothesis import given
from hypothesis import strategies as st

from mailmoat.delivery.retry import SPREAD, expired, next_due

schedules = st.lists(st.floats(0, 30 * 86400), min_size=1, max_size=20).map(tuple)
times = st.integers(0, 4_000_000_000_000)
fractions = st.floats(0, 1)


@given(times, st.integers(0, 1000), schedules, fractions)
def test_never_before_the_schedule_and_at_most_the_spread_after_it(now, attempts, schedule, fraction):
    delay = 0 if attempts == 0 else schedule[min(attempts, len(schedule)) - 1] * 1000
    waited = next_due(now, attempts, schedule, fraction) - now
    assert delay <= waited <= delay * (1 + SPREAD) + 1


@given(times, times, st.integers(0, 100), schedules, fractions, fractions)
def test_monotone_in_time_and_in_the_random_number(now, later, attempts, schedule, less, more):
    now, later, less, more = min(now, later), max(now, later), min(less, more), max(less, more)
    assert next_due(now, attempts, schedule, less) <= next_due(later, attempts, schedule, more)


@given(times, st.integers(0, 100), st.integers(0, 100), schedules, fractions)
def test_a_rising_schedule_never_comes_back_sooner_after_more_attempts(now, few, many, schedule, fraction):
    rising, few, many = tuple(sorted(schedule)), min(few, many), max(few, many)
    assert next_due(now, few, rising, fraction) <= next_due(now, many, rising, fraction)


@given(times, times, times, st.floats(0, 30 * 86400))
def test_once_expired_a_message_stays_so(arrival, now, later, expire):
    now, later = min(now, later), max(now, later)
    assert expired(arrival, later, expire) or not expired(arrival, now, expire)
