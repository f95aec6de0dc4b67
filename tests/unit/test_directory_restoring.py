"""A table that was lost or damaged, in virtual time: whoever is in force of its source stays known, within its bounds, and is the measure of its first read."""

import asyncio
import sqlite3
from functools import partial

import pytest
from tests.doubles.kept_source import ANYTHING, entries, entry, read_by, worlds

from mailmoat._native import Address, Directory, Normalisation, compile_directory
from mailmoat.directory.freshness import SyncState
from mailmoat.directory.snapshot import SNAPSHOT_NAME, Input
from mailmoat.directory.source import LARGEST_PART, Begin, Entry, Listed, Part, Whole
from mailmoat.directory_process.restoring import restore
from mailmoat.directory_process.table import Table
from mailmoat.errors import DirectoryError, SourceError

OUTAGE = SourceError("the server is away")
NORMALISATION = Normalisation("+")
FULL = (Begin(), entries(100), Whole(b"1"))
BOTH = {"domains": "a.test,b.test"}


class Server:
    """Worlds in one directory, whose table is compiled into a snapshot, from which it is restored where it is lost."""

    def __init__(self, directory, make):
        self.snapshot = directory / SNAPSHOT_NAME
        self.source = Input(1, "a", str(directory / "a.db"))
        self._make = make
        self._text = directory / "recipients"
        self._text.write_text("postmaster@c.test\n")

    def __call__(self, *reads, **row):
        return self._make(*reads, restore=partial(restore, snapshot=self.snapshot, source=self.source), **row)

    def compile(self):
        _, problems, _ = compile_directory(
            [Input.text(self._text), self.source], str(self.snapshot), "", [], [], NORMALISATION
        )
        assert problems == []

    def lose(self, world):
        world.table.close()
        for path in self.snapshot.parent.glob("a.db*"):
            path.unlink()

    def knows(self, *addresses):
        snapshot = Directory(str(self.snapshot))
        return [bool(snapshot.resolve(Address.parse(each), NORMALISATION)[0]) for each in addresses]


@pytest.fixture
def server(tmp_path):
    with worlds(tmp_path) as make:
        yield Server(tmp_path, make)


def lost(server, *first, **row):
    """A source that was read and is in force, and whose table is lost."""
    server.lose(server(first, **row))


def in_force(server, *first, **row):
    w = server(first, **row)
    server.compile()
    server.lose(w)


def test_who_is_in_force_is_taken_into_the_new_table_and_the_source_is_read_whole(server):
    in_force(server, *FULL)
    w = server((OUTAGE,))
    assert (w.seen, w.changes, w.source.cookies) == ((SyncState.FAILED, 100), 1, [None])
    assert w.keeper.freshness.synced_ms == 0, "who is not known may exist"
    assert not w.table.read_by(w.table.identity)
    assert w.log[0] == (
        "directory-remark",
        {
            "source": "a",
            "detail": "its table was lost; 100 entries are known as they were, until it is read whole",
        },
    )
    server.compile()
    assert server.knows("a0@a.test", "a99@a.test", "a100@a.test") == [True, True, False]
    assert list(w.table) == [], "their ids are not known"


def test_half_a_result_of_the_first_read_is_not_used(server):
    in_force(server, *FULL)
    half = (Begin(), entries(50), Whole(b"1"))
    w = server(half)
    w.advance(600)
    assert w.seen == (SyncState.SHRUNK, 100)
    assert "it has 50 entries with 50 addresses, and had 100 with 100" in w.keeper.freshness.reason
    w.keeper.sync(accept_shrink=True)
    w.advance(1)
    assert w.seen == (SyncState.CURRENT, 50)
    server.compile()
    assert server.knows("a0@a.test", "a99@a.test") == [True, False]


def test_a_whole_result_replaces_what_was_taken_over(server):
    in_force(server, *FULL)
    w = server((Begin(), entries(101, 1), Whole(b"1")))
    assert (w.seen, w.table.cookie) == ((SyncState.CURRENT, 100), b"1")
    assert list(w.table) == [b"%d" % number for number in range(1, 101)]
    server.compile()
    assert server.knows("a0@a.test", "a100@a.test") == [False, True]


def test_bounds_that_are_tightened_in_the_same_moment_count_at_once(server):
    in_force(server, Begin(), entries(30), entries(100, 30, domain="b.test"), Whole(b"1"), **BOTH)
    w = server((OUTAGE,), domains="a.test")
    assert (w.table.entries, w.changes) == (30, 1)
    server.compile()
    assert server.knows("a0@a.test", "a30@b.test") == [True, False]


def test_bounds_within_which_nothing_is_left_count_too(server):
    in_force(server, *FULL, **BOTH)
    w = server((OUTAGE,), domains="b.test")
    assert (w.table.entries, w.changes) == (0, 1)
    server.compile()
    assert server.knows("a0@a.test") == [False]


def test_a_table_that_was_never_in_force_has_nothing_to_take_over(server):
    lost(server, *FULL)
    w = server((OUTAGE,))
    assert (w.seen, w.changes, w.table.state) == ((SyncState.FAILED, 0), 0, "")
    server.lose(w)
    server.compile()
    w = server((OUTAGE,))
    assert (w.changes, w.table.state) == (0, "")


def test_one_that_is_damaged_while_it_is_kept_is_taken_over_too(server):
    w = server(FULL, (Begin(), entries(100), Whole(b"2")))
    server.compile()
    w.table.path.write_bytes(b"no database" * 1000)
    w.source.reads = [(OUTAGE,)]
    w.table._base.close()
    w.table._base = sqlite3.connect(w.table.path, isolation_level=None)
    w.advance(120)
    assert w.seen == (SyncState.FAILED, 100)


def test_each_kind_of_address_is_as_it_was(server):
    one = Entry(
        b"1",
        "ann",
        (
            Listed("Ann@a.test", ("x@a.test", "y@far.test")),
            Listed("ann@a.test"),
            Listed("!gone@a.test"),
            Listed("bob@a.test"),
        ),
    )
    other = Entry(
        b"2",
        "all",
        (
            Listed("@a.test"),
            Listed("@old.test", ("@a.test",)),
            Listed("@rest.test", ("bob@a.test",)),
            Listed('"b b"@a.test'),
        ),
    )
    unbound = {"target_domains": "*", "domains": "a.test,old.test,rest.test", "whole_domains": True}
    in_force(server, Begin(), Part((one, other)), Whole(b"1"), **unbound)
    asked = ["ann@a.test", "gone@a.test", "bob@a.test", "any@a.test", "any@old.test", "any@rest.test", '"b b"@a.test']
    asked = [Address.parse(each) for each in asked]
    answers = [Directory(str(server.snapshot)).resolve(each, NORMALISATION) for each in asked]
    w = server((OUTAGE,), **unbound)
    assert w.table.stock == (2, 6)
    server.compile()
    after = [Directory(str(server.snapshot)).resolve(each, NORMALISATION) for each in asked]
    assert [(found, listed, targets) for found, _, _, listed, targets in after] == [
        (found, listed, targets) for found, _, _, listed, targets in answers
    ]


class Full(Table):
    """The disk has room for one part."""

    parts = 0

    def apply(self, changed, removed):
        if self.parts:
            raise DirectoryError("the disk is full")
        super().apply(changed, removed)
        self.parts += 1


def test_all_of_it_is_in_force_together_or_not_at_all(server, tmp_path):
    many = 2 * LARGEST_PART
    parts = (Part(tuple(entry(number) for number in range(first, first + LARGEST_PART))) for first in (0, LARGEST_PART))
    in_force(server, Begin(), *parts, Whole(b"1"))
    table, loop = Full(tmp_path / "a.db", read_by("i", ANYTHING)), asyncio.new_event_loop()
    with pytest.raises(DirectoryError):
        loop.run_until_complete(restore(table, server.snapshot, server.source))
    loop.close()
    table.undo()
    assert (table.entries, table.state) == (0, "")
    table.close()
    assert server((OUTAGE,)).table.entries == many
