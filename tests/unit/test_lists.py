"""The lists as a worker asks them: in force when the snapshot is replaced, ended at their second, never half."""

import os
from pathlib import Path

import pytest

from mailmoat import clock
from mailmoat._native import EntryList, ListSnapshot, compile_lists, list_time, list_time_text
from mailmoat.lists.lists import Lists


@pytest.fixture
def compile_(tmp_path):
    """Compile a block list and an allow list; give what `compile_lists` gives."""

    def make(blocked="", allowed="", now=0):
        (tmp_path / "block").write_text(blocked)
        (tmp_path / "allow").write_text(allowed)
        sources = [(str(tmp_path / name), name == "allow", False, True) for name in ("block", "allow")]
        return compile_lists(str(tmp_path / "lists.snapshot"), sources, now)

    return make


@pytest.fixture
def lists(tmp_path):
    return Lists(tmp_path / "lists.snapshot")


@pytest.fixture
def second(monkeypatch):
    """A clock that stands; the fixture's list has the second."""
    now = [2_000_000_000]
    monkeypatch.setattr(clock, "wall_ms", lambda: now[0] * 1000)
    return now


def test_without_a_snapshot_nobody_is_listed(lists):
    assert lists.find("192.0.2.1") is None
    assert lists.entries == (0, 0)
    assert lists.usable
    assert not lists.refresh()


def test_an_entry_says_all_that_its_line_does(lists, compile_, tmp_path):
    compile_("192.0.2.0/24 since=2026-01-01 until=2096-01-01 # guesses addresses\n", "2001:db8::/32\n")
    assert lists.refresh()
    entry = lists.find("192.0.2.77")
    assert (entry.allows, entry.prefix, entry.reason) == (False, "192.0.2.0/24", "guesses addresses")
    assert (list_time_text(entry.since), list_time_text(entry.until)) == (
        "2026-01-01T00:00:00Z",
        "2096-01-01T00:00:00Z",
    )
    assert entry.source == tmp_path / "block"
    assert lists.find("2001:db8::1").allows
    assert lists.find("192.0.3.1") is lists.find("") is lists.find("host.test") is None
    assert lists.entries == (1, 1)


def test_a_change_is_seen_once(lists, compile_):
    compile_("192.0.2.1\n")
    assert lists.refresh()
    assert not lists.refresh()
    compile_("192.0.2.2\n")
    assert lists.find("192.0.2.1")
    assert lists.refresh()
    assert lists.find("192.0.2.1") is None
    assert lists.find("192.0.2.2")
    compile_()
    assert lists.refresh()
    assert lists.find("192.0.2.2") is None


def test_the_end_of_an_entry_is_a_change(lists, compile_, second):
    compile_(f"192.0.2.1 until={list_time_text(second[0] + 5)}\n192.0.2.2 until={list_time_text(second[0] + 9)}\n")
    assert lists.refresh()
    second[0] += 4
    assert lists.find("192.0.2.1")
    assert not lists.refresh()
    second[0] += 1
    assert lists.find("192.0.2.1") is None
    assert lists.refresh()
    assert not lists.refresh()
    second[0] += 4
    assert lists.refresh()
    assert lists.find("192.0.2.2") is None


def test_a_damaged_snapshot_leaves_the_one_before_in_force(lists, compile_, tmp_path):
    compile_("192.0.2.1\n")
    lists.refresh()
    snapshot = tmp_path / "lists.snapshot"
    octets = bytearray(snapshot.read_bytes())
    octets[-1] ^= 1
    (tmp_path / "new").write_bytes(octets)
    (tmp_path / "new").rename(snapshot)
    assert not lists.refresh()
    assert not lists.usable
    assert lists.find("192.0.2.1")
    compile_("192.0.2.1\n192.0.2.2\n")
    assert lists.refresh()
    assert lists.usable
    snapshot.unlink()
    assert not lists.refresh()
    assert lists.find("192.0.2.2")


def test_a_snapshot_says_what_it_was_made_from(compile_, tmp_path):
    blocked, allowed, changed, problems = compile_("192.0.2.1\n192.0.2.2\n", "198.51.100.1\n")
    assert (blocked, allowed, changed, problems) == (2, 1, True, [])
    path = tmp_path / "lists.snapshot"
    sources = ListSnapshot(str(path)).sources
    assert [(source, allow, entries) for source, allow, _, entries in sources] == [
        (tmp_path / "block", False, 2),
        (tmp_path / "allow", True, 1),
    ]
    assert ListSnapshot(str(path)).octets == path.stat().st_size
    *_, problems = compile_("192.0.2.1\nspam\n")
    assert problems == [
        (
            tmp_path / "block",
            'line 2: "spam": not an address or a prefix. Write 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32',
        )
    ]


def test_entries_are_selected_inside_and_around_a_prefix(compile_, tmp_path):
    compile_("10.0.0.0/8\n10.1.0.0/16\n192.0.2.1 until=2030-01-01\n", "10.1.2.3\n")
    snapshot = ListSnapshot(str(tmp_path / "lists.snapshot"))
    assert [entry.prefix for entry in snapshot.select(False, 1, None)] == ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.1"]
    assert [entry.prefix for entry in snapshot.select(False, 2_000_000_000, None)] == ["10.0.0.0/8", "10.1.0.0/16"]
    assert [entry.prefix for entry in snapshot.select(False, 1, "10.1.2.3")] == ["10.0.0.0/8", "10.1.0.0/16"]
    assert [entry.prefix for entry in snapshot.select(True, 1, "10.0.0.0/8")] == ["10.1.2.3"]
    with pytest.raises(ValueError, match="bits behind"):
        snapshot.select(True, 1, "10.0.0.1/8")


def test_a_list_is_changed_in_memory():
    entries = EntryList()
    assert entries.add("192.0.2.1", 5, 0, " why\n")
    assert not entries.add("::ffff:192.0.2.1", 6, 9, "again")
    entries.read(b"192.0.2.0/24 # net\n", 7, 8)
    assert entries.entries() == [("192.0.2.0/24", 7, 8, "net"), ("192.0.2.1", 6, 9, "again")]
    assert entries.remove_ended(8) == 1
    assert entries.remove("192.0.2.1")
    assert not entries.remove("192.0.2.1")
    assert len(entries) == 0
    assert entries.problems == []


def test_times_have_one_spelling():
    assert list_time_text(list_time("2030-12-31T18:00")) == "2030-12-31T18:00:00Z"
    with pytest.raises(ValueError, match="not a time"):
        list_time("tomorrow")


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir], ids=["fifo", "directory"])
def test_what_is_no_file_is_not_waited_for(tmp_path, make):
    make(tmp_path / "lists.snapshot")
    lists = Lists(tmp_path / "lists.snapshot")
    assert (lists.usable, lists.find("192.0.2.1")) == (False, None)
