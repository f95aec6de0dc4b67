"""The table of a source: each step is whole, entries keep their numbers, and its generation changes exactly when recipients do."""

import os
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.doubles.kept_source import ANYTHING, read_by

from mailmoat.directory.shrinkage import Losses, Stock
from mailmoat.directory.source import Entry, Listed
from mailmoat.directory.table_reading import entries_of
from mailmoat.directory_process import table_file
from mailmoat.directory_process.table import Table
from mailmoat.errors import DirectoryError


def entry(number, *addresses, name=""):
    return Entry(b"%d" % number, name or f"n{number}", tuple(Listed(each) for each in addresses))


def opened(directory, identity="i", bounds=ANYTHING):
    return Table(directory / "a.db", read_by(identity, bounds))


def read_whole(table, *entries, cookie=b"c"):
    table.begin()
    table.add(entries)
    changed = table.swap(cookie)
    while table.forget():
        pass
    return changed


def change(table, changed, removed, cookie):
    table.apply(changed, removed)
    return table.settle(cookie)


ANN, BOB = entry(1, "ann@a.test"), entry(2, "bob@a.test", "b@a.test")


def test_a_full_read_is_in_force_when_it_is_whole_and_after_a_restart(tmp_path):
    table = opened(tmp_path)
    table.begin()
    table.add([ANN, BOB])
    assert (table.entries, table.generation, table.read.entries, list(table)) == (0, 0, 2, [])
    assert table.swap(b"1")
    table.close()
    table = opened(tmp_path)
    assert (table.entries, table.generation, table.cookie, list(table)) == (2, 1, b"1", [b"1", b"2"])
    assert table.entry(b"2") == Entry(b"2", "n2", (Listed("b@a.test"), Listed("bob@a.test")))
    assert next(entries_of(table.path)) == ANN
    assert table.synced_ms > 0


def test_the_same_entries_are_no_change_but_their_names_are_new(tmp_path):
    table = opened(tmp_path)
    read_whole(table, ANN, BOB)
    assert not read_whole(table, entry(2, "b@a.test", "bob@a.test", name="moved"), ANN, cookie=b"2")
    assert (table.generation, table.cookie, table.entry(b"2").name) == (1, b"2", "moved")
    assert read_whole(table, ANN)
    assert table.generation == 2


def test_an_entry_keeps_its_number_and_no_number_has_two(tmp_path):
    table = opened(tmp_path)
    read_whole(table, ANN, BOB)
    change(table, [entry(3, "cid@a.test")], [b"1"], b"2")
    read_whole(table, entry(4, "dan@a.test"), entry(3, "cid@a.test"), BOB, ANN)
    numbers = dict(sqlite3.connect(table.path).execute("SELECT id, number FROM entry"))
    assert numbers == {b"2": 2, b"3": 3, b"4": 4, b"1": 5}


def test_a_delta_replaces_adds_and_removes(tmp_path):
    table = opened(tmp_path)
    read_whole(table, ANN, BOB)
    assert change(table, [entry(1, "ann@b.test"), entry(3, "cid@a.test")], [b"2", b"9"], b"2")
    assert [each.addresses[0].text for each in entries_of(table.path)] == ["ann@b.test", "cid@a.test"]
    assert (table.entries, table.generation, table.cookie) == (2, 2, b"2")
    assert not change(table, [entry(1, "ann@b.test")], [], b"3")
    assert (table.generation, table.cookie) == (2, b"3")
    assert change(table, [entry(1)], [], b"4"), "an entry without addresses is removed"
    assert list(table) == [b"3"]


def test_current_changes_the_cookie_and_the_time_alone(tmp_path):
    table = opened(tmp_path)
    read_whole(table, ANN)
    table.settle(b"9")
    assert (table.cookie, table.generation) == (b"9", 1)


def test_parts_of_a_change_are_in_force_together_or_not_at_all(tmp_path):
    table = opened(tmp_path)
    read_whole(table, ANN, BOB)
    for ends in ("undo", "begin", "close", "settle"):
        table.apply([entry(3, "cid@a.test")], [b"1"])
        table.apply([entry(2, "bob@a.test")], [])
        assert (table.before, table.gone) == (Stock(2, 3), Stock(1, 2))
        assert list(entries_of(table.path)) == [ANN, entry(2, "b@a.test", "bob@a.test")], "others see none of it"
        if ends == "settle":
            assert table.settle(b"2")
        else:
            getattr(table, ends)()
        if ends == "close":
            table = opened(tmp_path)
    assert (list(table), table.stock, table.generation, table.cookie) == ([b"2", b"3"], Stock(2, 2), 2, b"2")


def test_what_was_lost_is_kept_with_what_is_in_force(tmp_path):
    table = opened(tmp_path)
    read_whole(table, ANN)
    table.settle(b"2", Losses(1.5, 2.0, 3))
    table.close()
    table = opened(tmp_path)
    assert table.losses == Losses(1.5, 2.0, 3)
    table.settle(b"3")
    table.begin()
    table.add([ANN])
    table.swap(b"4", Losses())
    table.close()
    assert opened(tmp_path).losses == Losses()


def test_addresses_are_counted_where_nobody_counted_them(tmp_path):
    table = opened(tmp_path)
    read_whole(table, ANN, BOB, entry(3, "!cid@a.test"))
    table._base.execute("DELETE FROM state WHERE key='addresses'")
    table.close()
    assert opened(tmp_path).stock == Stock(3, 3)


def test_a_commit_that_fails_leaves_nothing_behind(tmp_path):
    """As on a full disk: the next change is not refused because of it."""
    table = opened(tmp_path)
    read_whole(table, ANN)
    table._base.execute("PRAGMA foreign_keys=ON")
    table._base.execute("CREATE TABLE broken(a REFERENCES state(key) DEFERRABLE INITIALLY DEFERRED)")
    table.apply([BOB], [])
    table._base.execute("INSERT INTO broken VALUES('nobody')")
    with pytest.raises(DirectoryError, match="FOREIGN KEY"):
        table.settle(b"2")
    assert change(table, [BOB], [], b"2")


def test_targets_are_kept(tmp_path):
    table = opened(tmp_path)
    alias = Entry(b"1", "n", (Listed("sales@a.test", ("ann@a.test", "bob@a.test")),))
    read_whole(table, alias)
    assert table.entry(b"1") == alias
    assert read_whole(table, alias._replace(addresses=(Listed("sales@a.test", ("ann@a.test",)),)))


def test_of_two_with_one_id_the_later_counts(tmp_path):
    table = opened(tmp_path)
    table.begin()
    table.add([ANN, BOB])
    table.add([entry(1, "ann@b.test")])
    assert table.read == Stock(2, 3)
    table.swap(b"")
    assert table.entry(b"1").addresses == (Listed("ann@b.test"),)
    assert not read_whole(table, BOB, entry(1, "ann@b.test"))


def test_another_identity_begins_anew_and_keeps_what_is_in_force(tmp_path):
    table = opened(tmp_path)
    read_whole(table, ANN)
    table.close()
    table = opened(tmp_path, "other")
    assert (table.cookie, table.entries) == (None, 1)
    read_whole(table, ANN, cookie=b"n")
    assert table.cookie == b"n"


def test_a_full_read_that_did_not_end_is_forgotten(tmp_path):
    table = opened(tmp_path)
    read_whole(table, ANN)
    table.begin()
    table.add([BOB])
    table.close()
    table = opened(tmp_path)
    assert list(table) == [b"1"]
    assert not read_whole(table, ANN)


def test_what_was_replaced_is_removed_in_small_steps(tmp_path):
    table = opened(tmp_path)
    table.begin()
    table.add([entry(number, f"a{number}@a.test") for number in range(50)])
    table.swap(b"")
    table.begin()
    table.add([ANN])
    table.swap(b"")
    steps = 0
    while table.forget(10):
        steps += 1
    assert steps >= 8
    names = {
        name for (name,) in sqlite3.connect(table.path).execute("SELECT name FROM sqlite_schema WHERE type='table'")
    }
    assert names == {"state", "entry", "address", "history"}


@pytest.mark.parametrize("octets", [b"no database at all" * 100, b"SQLite format 3\0" + bytes(4000)])
def test_a_damaged_database_is_begun_anew(tmp_path, octets):
    (tmp_path / "a.db").write_bytes(octets)
    table = opened(tmp_path)
    assert (table.cookie, table.generation) == (None, 0)
    assert read_whole(table, ANN)


@pytest.mark.parametrize(
    "using",
    [
        lambda table: change(table, [ANN], [], b"d"),
        lambda table: read_whole(table, ANN),
        lambda table: b"9999" in table,
        lambda table: table.entry(b"9999"),
        list,
        lambda table: list(table.all()),
    ],
    ids=["change", "read", "contains", "entry", "iterate", "all"],
)
def test_a_database_that_is_damaged_later_is_begun_anew(tmp_path, using):
    """The pages of its state are good, so that nobody notices when it is opened."""
    table = opened(tmp_path)
    read_whole(table, *(entry(number, f"u{number}@a.test") for number in range(3000)))
    state = table.state
    table.close()
    damage(tmp_path / "a.db", "entry", "sqlite_autoindex_entry_1")
    table = opened(tmp_path)
    assert table.state == state
    with pytest.raises(DirectoryError, match="malformed"):
        using(table)
    assert (table.cookie, table.generation, list(table)) == (None, 0, [])
    assert read_whole(table, ANN)
    assert table.state.split()[0] != state.split()[0], "what was compiled from the other one is something else"
    assert sqlite3.connect(table.path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def damage(path, *names):
    """Overwrite the first page of tables or indexes."""
    base = sqlite3.connect(path)
    base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (size,) = base.execute("PRAGMA page_size").fetchone()
    pages = [base.execute("SELECT rootpage FROM sqlite_schema WHERE name=?", (name,)).fetchone()[0] for name in names]
    base.close()
    with path.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)


class Broken:
    """A connection by which the state cannot be read."""

    def __init__(self, base, code):
        self._base, self._error = base, sqlite3.DatabaseError("it cannot be read")
        self._error.sqlite_errorcode = code

    def execute(self, query, *parameters):
        if "FROM state" in query:
            raise self._error
        return self._base.execute(query, *parameters)

    def __getattr__(self, name):
        return getattr(self._base, name)


@pytest.mark.parametrize("named", ["state", "stock", "cookie", "losses", "bounds", "synced_ms", "entries"])
@pytest.mark.parametrize(
    ("code", "stays"), [(sqlite3.SQLITE_IOERR, True), (sqlite3.SQLITE_FULL, True), (sqlite3.SQLITE_CORRUPT, False)]
)
def test_a_state_that_cannot_be_read_is_said_and_is_begun_anew_where_it_is_damaged(tmp_path, named, code, stays):
    table = opened(tmp_path)
    read_whole(table, ANN, BOB)
    base = table._base
    table._base = Broken(base, code)
    with pytest.raises(DirectoryError, match=r"a\.db: it cannot be read"):
        getattr(table, named)
    if stays:
        table._base = base
    assert (table.entries, table.generation) == ((2, 1) if stays else (0, 0))


@pytest.mark.parametrize("suffixes", [("",), ("", "-wal", "-shm")], ids=["file", "all"])
@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
def test_a_database_that_is_removed_is_begun_anew(tmp_path, suffixes, replaced):
    """What is written to a file that has no name any more is read by nobody."""
    table = opened(tmp_path)
    read_whole(table, ANN, BOB)
    for suffix in suffixes:
        (tmp_path / f"a.db{suffix}").unlink()
    if replaced:
        other = Table(tmp_path / "other.db", read_by("another"))
        read_whole(other, BOB)
        other.close()
        (tmp_path / "other.db").rename(tmp_path / "a.db")
    assert not table.is_there
    with pytest.raises(DirectoryError, match="removed, replaced or cut short"):
        change(table, [ANN], [], b"d")
    assert table.is_there
    assert table.cookie is None, "all is read anew"
    assert read_whole(table, ANN)
    assert list(entries_of(table.path)) == [ANN]


@pytest.mark.parametrize("part", [0, 2], ids=["empty", "half"])
def test_a_database_that_is_cut_short_is_begun_anew(tmp_path, part):
    """The connection has its pages in memory, and would go on for ever with a file that nobody else can read."""
    table = opened(tmp_path)
    read_whole(table, ANN, BOB)
    assert table.is_there
    os.truncate(table.path, table.path.stat().st_size // part if part else 0)
    assert not table.is_there
    with pytest.raises(DirectoryError, match="cut short"):
        change(table, [ANN], [], b"d")
    assert table.is_there
    assert read_whole(table, ANN)
    assert list(entries_of(table.path)) == [ANN]


@pytest.mark.parametrize("fault", ["removed", "damaged"])
def test_one_that_could_not_be_begun_anew_on_a_full_disk_is_when_there_is_room(tmp_path, monkeypatch, fault):
    table = opened(tmp_path)
    read_whole(table, *(entry(number, f"u{number}@a.test") for number in range(3000)))
    if fault == "removed":
        (tmp_path / "a.db").unlink()
    else:
        table.close()
        damage(tmp_path / "a.db", "entry", "sqlite_autoindex_entry_1")
        table = opened(tmp_path)

    def full(path):
        path.unlink(missing_ok=True)
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(table_file, "renew", full)
        for _ in range(2):
            with pytest.raises(DirectoryError, match="disk is full"):
                change(table, [ANN], [], b"d")
    with pytest.raises(DirectoryError, match="begun anew"):
        table.begin()
    assert read_whole(table, ANN)
    assert list(entries_of(table.path)) == [ANN]


def test_another_version_is_begun_anew(tmp_path):
    table = opened(tmp_path)
    read_whole(table, ANN)
    table._base.execute("UPDATE state SET value=99 WHERE key='version'")
    table.close()
    assert opened(tmp_path).generation == 0


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DirectoryError, match=r"file cannot be made|Not a directory|File exists"):
        Table(tmp_path / "file" / "a.db", read_by("i"))


ENTRIES = st.dictionaries(st.integers(0, 6), st.sets(st.sampled_from("abc"), max_size=3), max_size=6)


@given(st.lists(st.tuples(st.booleans(), ENTRIES, st.sets(st.integers(0, 6))), max_size=6))
@settings(deadline=None, max_examples=60)
def test_it_is_what_a_dictionary_is(tmp_path_factory, steps):
    table = opened(tmp_path_factory.mktemp("t"))
    read_whole(table)
    known, generation = {}, table.generation
    for full, changed, removed in steps:
        before = dict(known)
        entries = [
            entry(number, *(f"{each}@a.test" for each in sorted(letters))) for number, letters in changed.items()
        ]
        kept = set() if full else known.keys() - removed
        known = {number: known[number] for number in kept} | changed
        known = {number: letters for number, letters in known.items() if letters}
        if full:
            read_whole(table, *entries)
        else:
            change(table, entries, [b"%d" % number for number in removed], b"c")
        found = {int(each.id): {listed.text[0] for listed in each.addresses} for each in entries_of(table.path)}
        assert found == known
        assert table.stock == Stock(len(known), sum(map(len, known.values())))
        assert (table.generation != generation) == (before != known)
        generation = table.generation
