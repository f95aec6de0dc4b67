"""Changes of a table become a snapshot of what changed: it answers as one that is compiled whole, and is whole or as before after a kill."""

import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.doubles.kept_source import read_by

from mailmoat._native import Address, Directory, Normalisation, compile_directory
from mailmoat.directory.snapshot import SNAPSHOT_NAME
from mailmoat.directory.source import Entry, Listed
from mailmoat.directory_process import history
from mailmoat.directory_process.table import Table

ROOT = Path(__file__).parents[2]
USERS = 600
USUAL = Normalisation("+")
SCOPE = ("a.test", ["a.test"], [], USUAL)


def entry(number, *addresses):
    return Entry(b"%d" % number, f"n{number}", tuple(map(listed, addresses)))


def listed(address):
    text, *targets = address.split(" = ")
    return Listed(text, tuple(targets))


def filled(directory, users=USERS):
    table = Table(directory / "a.db", read_by("i"))
    table.begin()
    table.add(entry(number, f"user{number}@a.test") for number in range(users))
    table.swap(b"")
    return table


def change(table, changed, removed=()):
    table.apply(changed, removed)
    return table.settle(b"")


def compiled(table, snapshot):
    """Compile; return the snapshot and whether it is one of changes."""
    _, problems, _ = compile_directory([(1, "a", str(table.path))], str(snapshot), *SCOPE)
    assert problems == []
    return Directory(str(snapshot)), bool(bases(snapshot))


def bases(snapshot):
    return list(snapshot.parent.glob(f"{snapshot.name}.*.base"))


def answers(snapshot, addresses):
    return [snapshot.resolve(Address.parse(address), USUAL) for address in addresses]


def exists(snapshot, address):
    return answers(snapshot, [address])[0][0] != 0


def test_a_change_of_one_user_is_compiled_alone(tmp_path):
    table, path = filled(tmp_path), tmp_path / SNAPSHOT_NAME
    assert compiled(table, path)[1] is False
    whole = path.stat().st_size
    change(table, [entry(USERS, "new@a.test", "user1@a.test")], [b"2"])
    snapshot, is_changes = compiled(table, path)
    assert (is_changes, path.stat().st_size < whole / 20) == (True, True)
    assert [exists(snapshot, f"{name}@a.test") for name in ("new", "user1", "user2")] == [True, True, False]
    assert snapshot.entries == USERS
    assert dict(snapshot.tables) == {1: table.state}


def test_a_step_that_is_given_up_or_gives_the_same_again_leaves_no_history(tmp_path):
    table, path = filled(tmp_path), tmp_path / SNAPSHOT_NAME
    compiled(table, path)
    table.apply([entry(1, "other@a.test")], [])
    table.undo()
    assert not change(table, [entry(number, f"user{number}@a.test") for number in range(USERS)])
    change(table, [], [b"1"])
    snapshot, is_changes = compiled(table, path)
    assert (is_changes, exists(snapshot, "other@a.test"), exists(snapshot, "user1@a.test")) == (True, False, False)


def test_the_history_goes_on_after_a_restart_and_begins_anew_with_a_full_read_of_others(tmp_path):
    table, path = filled(tmp_path), tmp_path / SNAPSHOT_NAME
    compiled(table, path)
    change(table, [], [b"1"])
    table.close()
    table = Table(tmp_path / "a.db", read_by("i"))
    change(table, [], [b"2"])
    snapshot, is_changes = compiled(table, path)
    assert (is_changes, exists(snapshot, "user1@a.test"), exists(snapshot, "user2@a.test")) == (True, False, False)
    table.begin()
    table.add(entry(number, f"user{number}@a.test") for number in range(USERS))
    assert table.swap(b"")
    snapshot, is_changes = compiled(table, path)
    assert (is_changes, exists(snapshot, "user1@a.test")) == (False, True)
    change(table, [], [b"1"])
    assert compiled(table, path)[1] is True


def test_a_table_that_lost_its_last_changes_in_a_crash_of_the_machine_is_no_history_of_the_snapshot(tmp_path):
    table, path = filled(tmp_path), tmp_path / SNAPSHOT_NAME
    change(table, [entry(1, "one@a.test")])
    table.close()  # all of it is on disk
    shutil.copy(tmp_path / "a.db", tmp_path / "kept.db")
    table = Table(tmp_path / "a.db", read_by("i"))
    change(table, [entry(2, "two@a.test"), entry(3, "lost@a.test")])
    snapshot, _ = compiled(table, path)
    table.close()
    shutil.copy(tmp_path / "kept.db", tmp_path / "a.db")
    table = Table(tmp_path / "a.db", read_by("i"))
    change(table, [entry(2, "two@a.test"), entry(4, "four@a.test")])
    assert dict(snapshot.tables) != {1: table.state}, "the number of the generation is the same, what it has is not"
    change(table, [entry(5, "five@a.test")])
    snapshot, is_changes = compiled(table, path)
    there = [exists(snapshot, f"{name}@a.test") for name in ("one", "two", "four", "five", "lost", "user3")]
    assert (is_changes, there) == (False, [True, True, True, True, False, True])
    change(table, [entry(6, "six@a.test")])
    assert compiled(table, path)[1] is True
    table.close()


def test_a_long_history_is_forgotten_and_all_is_compiled(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "MOST", 8)
    table, path = filled(tmp_path), tmp_path / SNAPSHOT_NAME
    compiled(table, path)
    for number in range(3):
        change(table, [], [b"%d" % number])
    snapshot, is_changes = compiled(table, path)
    assert (is_changes, exists(snapshot, "user0@a.test"), snapshot.entries) == (False, False, USERS - 3)
    change(table, [], [b"3"])
    assert compiled(table, path)[1] is True


def test_a_table_of_an_older_version_begins_its_history_now(tmp_path):
    table, path = filled(tmp_path), tmp_path / SNAPSHOT_NAME
    table._base.execute("DROP TABLE history")
    table._base.execute("DELETE FROM state WHERE key='history_from'")
    assert compiled(table, path)[1] is False
    table.close()
    table = Table(tmp_path / "a.db", read_by("i"))
    change(table, [], [b"1"])
    snapshot, is_changes = compiled(table, path)
    assert (is_changes, exists(snapshot, "user1@a.test")) == (True, False)


NAMES = ("user1", "user2", "user3", "new", "NEW", "other")
ADDRESSES = st.one_of(
    st.sampled_from([f"{name}@a.test" for name in NAMES]),
    st.sampled_from([f"!{name}@a.test" for name in NAMES]),
    st.tuples(st.sampled_from(NAMES), st.sampled_from((*NAMES, "far"))).map(
        lambda both: f"{both[0]}@a.test = {both[1]}@a.test"
    ),
)
ENTRIES = st.tuples(st.integers(1, 6), st.lists(ADDRESSES, max_size=3))
STEPS = st.one_of(
    st.tuples(st.just("change"), st.lists(ENTRIES, min_size=1, max_size=3), st.lists(st.integers(1, 6), max_size=1)),
    st.tuples(st.just("undo"), st.lists(ENTRIES, min_size=1, max_size=3), st.just([])),
    st.tuples(st.just("restart"), st.just([]), st.just([])),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(STEPS, min_size=1, max_size=6))
def test_any_history_of_a_table_answers_as_a_whole_compile(tmp_path_factory, history):
    directory = tmp_path_factory.mktemp("changes")
    table, path = filled(directory), directory / SNAPSHOT_NAME
    compiled(table, path)
    asked = [f"{name}{detail}@a.test" for name in (*NAMES, "far", "user4") for detail in ("", "+x")]
    for number, (what, changed, removed) in enumerate(history):
        if what == "restart":
            table.close()
            table = Table(directory / "a.db", read_by("i"))
            continue
        entries = [entry(each, *addresses) for each, addresses in changed]
        table.apply(entries, [b"%d" % each for each in removed])
        if what == "undo":
            table.undo()
            continue
        table.settle(b"")
        got, wanted = compiled(table, path)[0], compiled(table, directory / f"{number}.snapshot")[0]
        assert answers(got, asked) == answers(wanted, asked)
        assert (got.entries, got.tables) == (wanted.entries, wanted.tables)
    table.close()


CHILD = """
import sys
from pathlib import Path
from mailmoat._native import Normalisation, compile_directory
from mailmoat.directory.source import Entry, Listed
from mailmoat.directory_process.table import Table
from tests.doubles.kept_source import read_by


directory = Path(sys.argv[1])
table, number = Table(directory / "a.db", read_by("i")), 0
while True:
    number += 1
    domain = (Listed("@whole.test"),) if number % 6 == 0 else ()
    changed = [Entry(b"new", "new", (Listed(f"new{number % 5}@a.test"),))]
    if number % 3 == 0:
        changed.append(Entry(b"domain", "domain", domain))
    table.apply(changed, [])
    table.settle(b"")
    compile_directory([(1, "a", str(table.path))], str(directory / "directory.snapshot"), "a.test", ["a.test"], [], Normalisation("+"))
    print(number, flush=True)
"""
"""Each third compile is a whole one, as an entry for a domain is another one."""


@pytest.mark.timeout(300)
def test_a_compile_that_is_killed_at_any_time_leaves_all_users(tmp_path):
    table, path = filled(tmp_path), tmp_path / SNAPSHOT_NAME
    compiled(table, path)
    table.close()
    users = [f"user{number}@a.test" for number in range(0, USERS, 50)]
    draw, states = random.Random(13), set()
    for _ in range(12):
        with subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT) as child:
            child.stdout.readline()
            for _ in range(draw.randrange(5, 400)):  # as workers do, at any moment of a compile
                snapshot = Directory(str(path))
                assert all(found[0] == 1 for found in answers(snapshot, users))
                states.add(bool(bases(path)))
            child.send_signal(signal.SIGKILL)
        snapshot = Directory(str(path))
        assert all(found[0] == 1 for found in answers(snapshot, users))
    assert states == {True, False}
    table = Table(tmp_path / "a.db", read_by("i"))
    change(table, [entry(0, "last@a.test")])
    assert exists(compiled(table, path)[0], "last@a.test")
    change(table, [Entry(b"domain", "domain", (Listed("@all.test"),))])
    assert compiled(table, path)[1] is False, "all is compiled, and no base is left"
    table.close()
