"""Other bounds of a row, in virtual time: what they do not permit is gone at once, however much it is; what they permit is never lost."""

import asyncio

import pytest
from tests.doubles.kept_source import ANYTHING, entries, read_by, worlds

from mailmoat.directory.freshness import SyncState
from mailmoat.directory.source import LARGEST_PART, Begin, Current, Entry, Listed, Part, Whole
from mailmoat.directory.table_reading import entries_of
from mailmoat.directory_process.table import Table
from mailmoat.directory_process.tightening import tighten
from mailmoat.errors import DirectoryError, SourceError

OUTAGE = SourceError("the server is away")
BOTH = {"domains": "a.test,b.test"}
FULL = (Begin(), entries(30, domain="a.test"), entries(100, 30, domain="b.test"), Whole(b"1"))


@pytest.fixture
def world(tmp_path):
    with worlds(tmp_path) as make:
        yield make


def texts(world):
    return {one.text for entry in world.table.all() for one in entry.addresses}


def domains(world):
    return {text.rpartition("@")[2] for text in texts(world)}


def test_what_tighter_bounds_do_not_permit_is_gone_at_once_though_the_source_is_away(world):
    first = world(FULL, **BOTH)
    assert first.seen == (SyncState.CURRENT, 100)
    before, synced = first.table.generation, first.table.synced_ms
    w = world((OUTAGE,), domains="a.test")
    assert (w.table.entries, domains(w), w.changes) == (30, {"a.test"}, 1)
    assert w.seen[0] is SyncState.FAILED, "and no shrinking"
    assert (w.source.cookies, w.table.generation) == ([b"1"], before + 1), "nothing has to be read anew"
    assert w.table.read_by(w.table.identity)
    assert w.keeper.freshness.synced_ms == synced, "the source said nothing"
    assert w.events[0] == "directory-tightened"
    assert w.log[0][1] == {"source": "a", "changed": 0, "removed": 70, "entries": 30}
    assert (w.keeper.freshness.left_out, w.keeper.freshness.left_out_examples) == (
        70,
        ("a30@b.test: b.test is not in the domains of this source (n30)",),
    )


def test_it_is_done_once(world):
    world(FULL, **BOTH)
    world((Current(b"2"),), domains="a.test")
    w = world((Current(b"2"),), domains="a.test")
    assert (w.table.entries, w.events, w.source.cookies) == (30, [], [b"2"])


def test_what_tighter_bounds_take_away_is_not_lost_so_the_guard_is_as_it_was(world):
    world(FULL, **BOTH)
    w = world((Begin(), entries(27), Whole(b"2")), domains="a.test")
    w.keeper.sync()
    w.advance(1)
    assert w.seen == (SyncState.CURRENT, 27)
    again = world((Begin(), entries(9), Whole(b"3")), domains="a.test")
    again.keeper.sync()
    again.advance(1)
    assert again.seen == (SyncState.SHRUNK, 27)


def test_an_entry_that_is_permitted_in_part_keeps_that_part(world):
    both = Entry(b"1", "ann", (Listed("ann@a.test"), Listed("ann@b.test"), Listed("x@a.test", ("eve@far.test",))))
    world((Begin(), Part((both, *entries(5, 2).entries)), Whole(b"1")), target_domains="far.test", **BOTH)
    w = world((OUTAGE,), domains="a.test")
    assert w.table.entry(b"1").addresses == (Listed("ann@a.test"), Listed("x@a.test"))
    assert w.log[0] == ("directory-tightened", {"source": "a", "changed": 1, "removed": 0, "entries": 4})


def test_wider_bounds_need_a_full_read_and_take_nothing_away_before(world):
    world((Begin(), entries(30), Whole(b"1")), domains="a.test")
    w = world((OUTAGE,), FULL, **BOTH)
    assert (w.table.entries, w.source.cookies, w.table.cookie) == (30, [None], None)
    assert not w.table.read_by(w.table.identity)
    w.advance(2)
    assert w.seen == (SyncState.CURRENT, 100)


def test_bounds_that_are_tighter_in_one_and_wider_in_another_respect_do_both(world):
    world(FULL, **BOTH)
    w = world((OUTAGE,), (Begin(), entries(30), Whole(b"2")), domains="a.test", whole_domains=True)
    assert (w.table.entries, w.source.cookies) == (30, [None])
    w.advance(2)
    assert w.seen == (SyncState.CURRENT, 30)


def test_bounds_that_come_back_find_nothing_missing(world):
    """Under others the table lost what these permit: the cookie of before must not count again."""
    world(FULL, **BOTH)
    world((OUTAGE,), domains="b.test,c.test")
    w = world((OUTAGE,), FULL, **BOTH)
    assert (w.table.entries, w.source.cookies) == (70, [None])
    w.advance(2)
    assert w.seen == (SyncState.CURRENT, 100)


def test_other_settings_beside_tighter_bounds_need_a_full_read(world):
    world(FULL, **BOTH)
    w = world((OUTAGE,), url="file:///y", domains="a.test")
    assert (w.table.entries, w.source.cookies) == (30, [None])


def test_bounds_within_which_nothing_is_left_are_no_empty_source(world):
    """Perhaps a slip of the pen: what is not found is unknown, and no read of nothing is believed."""
    world((Begin(), entries(30), Whole(b"1")), **BOTH)
    w = world((Begin(), entries(30), Whole(b"2")), domains="b.test")
    assert w.seen == (SyncState.SHRUNK, 0)
    assert not w.table.read_by(w.table.identity)
    again = world((Begin(), entries(30), Whole(b"2")), **BOTH)
    assert again.seen == (SyncState.CURRENT, 30)


def test_a_table_of_which_the_bounds_are_not_known_is_kept_to_these(world):
    first = world(FULL, **BOTH)
    first.table._base.execute("DELETE FROM state WHERE key='bounds'")
    same = world((Current(b"1"),), **BOTH)
    assert (same.seen, same.source.cookies) == ((SyncState.CURRENT, 100), [b"1"])
    same.table._base.execute("DELETE FROM state WHERE key='bounds'")
    w = world((OUTAGE,), domains="a.test")
    assert (w.table.entries, w.source.cookies) == (30, [None])


class Watched(Table):
    """Notes of each part that is applied how large it is, and how much others see in the table then; `room` parts are applied, then the disk is full."""

    room, parts = 10, ()

    def apply(self, changed, removed):
        if len(self.parts) == self.room:
            raise DirectoryError("the disk is full")
        super().apply(changed, removed)
        self.parts = (*self.parts, (len(changed), len(list(entries_of(self.path)))))


def test_it_is_done_in_parts_that_are_in_force_together_or_not_at_all(tmp_path):
    def opened(**bounds):
        return Watched(tmp_path / "a.db", read_by("i", ANYTHING._replace(**bounds)))

    many, loop = 5 * LARGEST_PART // 2, asyncio.new_event_loop()
    table = opened()
    assert loop.run_until_complete(tighten(table)) == (0, 0, ())
    table.begin()
    table.add((*entries(9).entries, *entries(many, 9, domain="b.test").entries))
    table.swap(b"1")
    table.close()
    table = opened(domains=frozenset({"a.test"}))
    table.room = 2
    with pytest.raises(DirectoryError):
        loop.run_until_complete(tighten(table))
    table.undo()
    assert (table.entries, table.generation) == (many, 1)
    table.room, table.parts = 10, ()
    removed = loop.run_until_complete(tighten(table)).removed
    assert (removed, table.entries, table.generation) == (many - 9, 9, 2)
    assert table.parts == ((LARGEST_PART - 9, many), (LARGEST_PART, many), (LARGEST_PART // 2, many))
    loop.close()
