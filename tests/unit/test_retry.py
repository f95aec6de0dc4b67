"""Retry schedule and expiry."""

import pytest

from mailmoat.delivery.retry import expired, next_due

SCHEDULE = (60.0, 60.0, 600.0, 1800.0)


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(0, 0), (1, 60), (2, 60), (3, 600), (4, 1800), (5, 1800), (500, 1800)]
)
def test_the_schedule_is_walked_and_its_last_delay_repeats(attempts, seconds):
    assert next_due(1_000_000, attempts, SCHEDULE, 0.0) == 1_000_000 + seconds * 1000


def test_the_spread_adds_up_to_a_tenth():
    assert next_due(0, 4, SCHEDULE, 0.5) == 1_890_000
    assert next_due(0, 4, SCHEDULE, 1.0) in {1_980_000, 1_980_001}


def test_expiry_is_exact_and_a_clock_set_back_expires_nothing():
    day = 86_400.0
    assert not expired(1000, 1000 + 86_400_000 - 1, day)
    assert expired(1000, 1000 + 86_400_000, day)
    assert not expired(1000, 0, day)
