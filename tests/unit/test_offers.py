"""What a worker knows of the next hop: from its own connections, from other workers, from an earlier start."""

from __future__ import annotations

import os

import pytest

from mailmoat import clock, maillog
from mailmoat.delivery.hosts import Host
from mailmoat.delivery.offers import (
    ANY_TEXT,
    FILE_NAME,
    STALE,
    TRACE_ROOM,
    Learned,
    Offers,
    file_name_of,
    remove_others,
)

HOP = "smtp://192.0.2.1:25"
NARROW = Offers(eight_bit=False, smtputf8=False, size=100_000)


@pytest.fixture
def events(monkeypatch):
    """Names of what was logged."""
    names = []
    monkeypatch.setattr(maillog._stream, "write", lambda name, level, fields: names.append(name))
    return names


@pytest.mark.parametrize(
    ("told", "own", "accepted"),
    [
        (0, 5_000, 5_000),
        (0, 0, 0),
        (100_000, 0, 100_000 - TRACE_ROOM),
        (100_000, 50_000, 50_000),
        (100_000, 100_000, 100_000 - TRACE_ROOM),
        (10_000, 50_000, 5_000),
        (1, 50_000, 1),
    ],
)
def test_the_smaller_size_counts_and_our_own_fields_find_room(told, own, accepted):
    assert Offers(size=told).room(own) == accepted


def test_what_one_worker_learns_the_others_and_the_next_start_know(tmp_path, events):
    heard, later = [], []
    one = Learned(tmp_path, HOP, lambda _: None)
    other = Learned(tmp_path, HOP, heard.append)
    other.refresh()
    assert other.offers == ANY_TEXT
    one.learn(NARROW)
    one.learn(NARROW)
    other.refresh()
    other.refresh()
    Learned(tmp_path, HOP, later.append).refresh()
    assert heard == later == [NARROW]
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    one.learn(ANY_TEXT)
    other.refresh()
    assert other.offers == ANY_TEXT
    assert set(events) == {"next-hop-offers"}


def test_files_of_next_hops_that_no_route_has_are_removed(tmp_path, events):
    kept, gone, other = (
        Learned(tmp_path, name, lambda _: None, file_name=file_name_of(name)) for name in (HOP, "gone", "other")
    )
    for each in (kept, gone, other):
        each.learn(NARROW)
    (tmp_path / "state.json").touch()
    remove_others(tmp_path, [kept])
    assert sorted(path.name for path in tmp_path.iterdir()) == [file_name_of(HOP), "state.json"]
    remove_others(tmp_path / "missing", [])


@pytest.mark.parametrize("hop", ["smtp://192.0.2.2:25", "lmtp://192.0.2.1:25"])
def test_what_is_known_of_one_next_hop_says_nothing_of_another(tmp_path, events, hop):
    Learned(tmp_path, HOP, lambda _: None).learn(NARROW)
    other = Learned(tmp_path, hop, lambda _: pytest.fail("taken over"))
    other.refresh()
    assert other.offers == ANY_TEXT


def sized(size):
    """A file that would be ours but for the size."""
    return f'{{"next_hop":"{HOP}","offers":{{"size":{size}}}}}'.encode()


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"next_hop":1}', b"\xff", sized(-1), sized(1 << 64), sized("9" * 30), sized("1" + " " * 5000)],
)
def test_a_file_that_says_nothing_changes_nothing(tmp_path, events, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    learned = Learned(tmp_path, HOP, lambda _: pytest.fail("taken over"))
    learned.refresh()
    learned.refresh()
    assert events == ["next-hop-not-read"], "not said once, or once a second"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_waited_for(tmp_path, events, make):
    make(tmp_path / FILE_NAME)
    Learned(tmp_path, HOP, lambda _: pytest.fail("taken over")).refresh()
    assert events == ["next-hop-not-read"]


def test_the_largest_size_that_can_be_told_is_taken(tmp_path, events):
    heard = []
    (tmp_path / FILE_NAME).write_bytes(sized((1 << 64) - 1))
    Learned(tmp_path, HOP, heard.append).refresh()
    assert heard == [Offers(size=(1 << 64) - 1)]


def test_a_spool_that_cannot_be_written_costs_nothing(tmp_path, events):
    heard = []
    Learned(tmp_path / "gone", HOP, heard.append).learn(NARROW)
    assert heard == [NARROW]
    assert events == ["next-hop-offers", "next-hop-not-kept"]


def test_of_several_servers_counts_what_all_of_them_take(tmp_path, events):
    learned = Learned(tmp_path, HOP, lambda _: None)
    one, other = Host("a.test", 25), Host("b.test", 25)
    learned.learn(Offers(binary=True), one)
    assert learned.offers == Offers(binary=True)
    learned.learn(NARROW, other)
    learned.learn(Offers(size=50_000, binary=True), one)
    assert learned.offers == Offers(eight_bit=False, smtputf8=False, size=50_000)
    learned.learn(Offers(), other)
    assert learned.offers == Offers(size=50_000)


def test_a_next_hop_that_does_not_take_everything_is_asked_again(tmp_path, monkeypatch, events):
    now = 1000.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    learned = Learned(tmp_path, HOP, lambda _: None)
    now += 10 * STALE
    assert not learned.stale()
    learned.learn(NARROW)
    assert not learned.stale()
    now += STALE
    assert [learned.stale(), learned.stale()] == [True, False]
    now += STALE
    learned.learn(NARROW)
    assert not learned.stale()
