"""Failures of a source, over processes and for ten minutes."""

import os
from types import SimpleNamespace
from unittest import mock

import pytest

from mailmoat import clock
from mailmoat.limits.failures import WINDOW, AuthFailures
from mailmoat.metrics import share


@pytest.fixture
def now():
    at = SimpleNamespace(seconds=1000.0)
    with mock.patch.object(clock, "monotonic", side_effect=lambda: at.seconds):
        yield at


def failures(shared, most=2):
    return AuthFailures(SimpleNamespace(auth_failures_per_source=most), shared)


def test_a_count_ends_with_its_window(now):
    counted = failures(share(1))
    for _ in range(2):
        assert not counted.reached("192.0.2.1")
        counted.add("192.0.2.1")
    assert counted.reached("192.0.2.1")
    assert not counted.reached("192.0.2.2")
    now.seconds += WINDOW - 1
    assert counted.reached("192.0.2.1")
    now.seconds += 2
    assert not counted.reached("192.0.2.1")


def test_a_prefix_of_ipv6_is_one_source(now):
    counted = failures(share(1))
    counted.add("2001:db8::1")
    counted.add("2001:db8::2")
    assert counted.reached("2001:db8::3")
    assert not counted.reached("2001:db8:0:1::1")


def test_workers_count_together(now):
    shared = share(2)
    child = os.fork()
    if child == 0:
        failures(shared).add("192.0.2.1")
        failures(shared).add("192.0.2.1")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert failures(shared).reached("192.0.2.1")


def test_without_a_limit_or_an_address_nothing_is_counted(now):
    counted = failures(share(1), most=0)
    for _ in range(50):
        counted.add("192.0.2.1")
    assert not counted.reached("192.0.2.1")
    strict = failures(share(1), most=1)
    strict.add("")
    assert not strict.reached("")
