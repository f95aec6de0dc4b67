"""Retry schedule, expiry, route and the question whether a report may be made."""

from types import SimpleNamespace

import pytest

from mailmoat.delivery.retry import expired, next_due
from mailmoat.delivery.router import route
from mailmoat.reports.governor import DISABLED, NULL_REVERSE_PATH, Report, judge

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


def test_every_domain_has_the_one_next_hop():
    hop = object()
    assert route("example.org", SimpleNamespace(next_hop=hop)) is hop
    assert route("example.org", SimpleNamespace(next_hop=None)) is None


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("copy_to", [None, "postmaster@example.test"])
def test_a_null_reverse_path_never_makes_a_report(enabled, copy_to):
    assert judge("", enabled=enabled, copy_to=copy_to) is NULL_REVERSE_PATH


def test_reports_can_be_switched_off():
    assert judge("a@example.org", enabled=False, copy_to="b@example.test") is DISABLED


def test_a_copy_goes_to_the_named_mailbox_once():
    assert judge("a@example.org", enabled=True, copy_to=None) == Report(("a@example.org",))
    assert judge("a@example.org", enabled=True, copy_to="b@example.test") == Report(("a@example.org", "b@example.test"))
    assert judge("a@example.org", enabled=True, copy_to="A@Example.org") == Report(("a@example.org",))
