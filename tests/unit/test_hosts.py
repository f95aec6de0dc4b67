"""Smarthost lists: ranks, weights, fail-over, and the way back."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from mailmoat import clock
from mailmoat.delivery.hosts import FIRST_ABSENCE, LONGEST_ABSENCE, FixedHosts
from mailmoat.delivery.tls_policy import TlsPolicy
from mailmoat.settings.next_hop import parse_next_hop


class World:
    def __init__(self, monkeypatch, written, seed=1):
        self.now = 1000.0
        monkeypatch.setattr(clock, "monotonic", lambda: self.now)
        self.hosts = FixedHosts(parse_next_hop(written).ranks, lambda _: TlsPolicy(), random.Random(seed).random)

    def find(self):
        return asyncio.run(self.hosts.find())

    def named(self, name):
        return next(host for host in self.find() if host.name == name)

    @property
    def names(self):
        return [host.name.removesuffix(".test") for host in self.find()]


@pytest.fixture
def world(monkeypatch):
    def make(written, **more):
        return World(monkeypatch, written, **more)

    return make


def test_servers_are_tried_by_rank(world):
    assert world("smtp://a.test, smtp://b.test, smtp://c.test").names == ["a", "b", "c"]


def test_servers_of_a_rank_share_by_their_weights(world):
    w = world("smtp://a.test*3 | smtp://b.test, smtp://backup.test")
    tried = Counter(tuple(w.names) for _ in range(10_000))
    assert set(tried) == {("a", "b", "backup"), ("b", "a", "backup")}
    assert 0.73 < tried["a", "b", "backup"] / 10_000 < 0.77


def test_one_that_is_away_is_tried_last_for_growing_times_and_first_again_afterwards(world):
    w = world("smtp://a.test, smtp://b.test")
    first = w.named("a.test")
    for absence in (
        FIRST_ABSENCE,
        2 * FIRST_ABSENCE,
        4 * FIRST_ABSENCE,
        8 * FIRST_ABSENCE,
        LONGEST_ABSENCE,
        LONGEST_ABSENCE,
    ):
        w.hosts.away(first)
        assert w.names == ["b", "a"]
        w.now += absence - 0.001
        assert w.names == ["b", "a"]
        w.now += 0.002
        assert w.names == ["a", "b"]
    w.hosts.reached(first)
    w.hosts.left(first)
    w.hosts.away(first)
    w.now += FIRST_ABSENCE + 0.001
    assert w.names == ["a", "b"], "what was reached begins anew"


def test_all_that_are_away_are_tried_in_their_order(world):
    w = world("smtp://a.test, smtp://b.test")
    for host in w.find():
        w.hosts.away(host)
    assert w.names == ["a", "b"]


def test_one_that_refuses_one_connection_more_is_not_away_and_no_later_rank_is_used(world):
    w = world("smtp://a.test | smtp://b.test, smtp://backup.test")
    first = w.named("a.test")
    w.hosts.reached(first)
    w.hosts.reached(first)
    w.hosts.away(first)
    assert sorted(w.names) == ["a", "b"]
    w.hosts.left(first)
    assert sorted(w.names) == ["a", "b"]
    w.hosts.left(first)
    assert w.names[-1] == "backup"
    w.hosts.away(first)
    assert w.names == ["b", "backup", "a"]


def test_what_each_server_is_reached_by(world):
    w = world("lmtp:///run/lmtp, smtps://[2001:db8::1]:4650, lmtp://c.test")
    assert [(host.name, host.port, host.lmtp, host.socket and str(host.socket)) for host in w.find()] == [
        ("", 0, True, "/run/lmtp"),
        ("2001:db8::1", 4650, False, None),
        ("c.test", 24, True, None),
    ]
