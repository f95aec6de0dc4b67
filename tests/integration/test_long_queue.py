"""A long queue, and many next hops of which some are bad: what `loadtest.backlog` and `loadtest.destinations` measure, held to its bounds.

Everything is a ratio, or memory, so the machine's speed does not matter. `MAILMOAT_TEST_SOAK=1` does it with a million messages, and with a
thousand next hops three times.
"""

from __future__ import annotations

import json
import os

import pytest
from loadtest import backlog, destinations

SOAK = os.environ.get("MAILMOAT_TEST_SOAK") == "1"
MESSAGES, IDLE = (1_000_000, 20.0) if SOAK else (100_000, 3.0)
HOPS, EACH, ROUNDS = (1000, 30, 3) if SOAK else (200, 10, 1)
SHARE = 0.95 if SOAK else 0.5
"""Of their rate alone that next hops keep beside bad ones; the short form takes a second or two, of which a bad one that stops others takes many."""
BESIDE = 4 << 20
"""Octets that supervisor and admin process may grow by."""


@pytest.mark.timeout(1800)
def test_a_message_that_waits_costs_little(tmp_path, peer, capsys):
    peer("smtp-sink"), peer("smtp-source")
    found = backlog.outage(tmp_path, MESSAGES, 1024, IDLE)
    with capsys.disabled():
        print(f"\na long queue: {json.dumps(found)}")
    assert found["octets_each"] <= 300
    assert found["other_processes_octets"] <= BESIDE
    assert found["cpu_idle_percent"] <= 5
    if SOAK:  # the first tenth of the short form is over before it is measured
        assert found["last_tenth_us"] <= 1.5 * found["first_tenth_us"]
    assert found["rest_per_s"] >= 0.8 * found["fresh_per_s"]


@pytest.mark.usefixtures("root")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mx", [False, True], ids=["routes", "mx"])
def test_bad_next_hops_take_nothing_from_the_others(tmp_path, peer, capsys, mx):
    peer("smtp-sink"), peer("nft")
    kinds = destinations.kinds_of(HOPS, destinations.USUAL_MX if mx else destinations.USUAL)
    found = destinations.compare(tmp_path, kinds, EACH, ROUNDS, mx=mx)
    with capsys.disabled():
        print(f"\nmany next hops, some bad: {json.dumps(found)}")
    assert found["share"] >= SHARE
