"""When the snapshot is compiled: at once after a change of a table, not while the recipient file may be unfinished, and not all the time."""

import errno
import os

import pytest
from tests.doubles.kept_source import read_by

from mailmoat import clock, maillog
from mailmoat._native import Address, Normalisation
from mailmoat.directory import inputs
from mailmoat.directory.directory import Presence
from mailmoat.directory.paths import table_path
from mailmoat.directory.snapshot import SNAPSHOT_NAME
from mailmoat.directory.snapshot_directory import SnapshotDirectory
from mailmoat.directory.source import Entry, Listed
from mailmoat.directory_process.table import Table
from mailmoat.settings import Settings
from mailmoat.supervisor import compiler
from mailmoat.supervisor.refreshes import Refreshes


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Done:
    """A child that has said what it had to say."""

    pid = 0

    def __init__(self, report):
        self.report = report
        self.descriptor, write = os.pipe()
        os.close(write)

    def listen(self):
        os.close(self.descriptor)
        self.descriptor = -1

    def close(self):
        pass


class World:
    """The refreshes of a server whose compiles run at once in the process of the test, and take `seconds`, of which the CPU works `share`."""

    def __init__(self, directory, monkeypatch, text=None):
        self.now, self.seconds, self.share, self.compiles = 1000.0, 0.5, 1.0, 0
        self.directory, self.text = directory, directory / "recipients"
        monkeypatch.setattr(clock, "monotonic", lambda: self.now)
        monkeypatch.setattr(clock, "cpu", lambda: self.seconds * self.share)
        monkeypatch.setattr(clock, "wall_ms", lambda: int((1_700_000_000 + self.now) * 1000))
        monkeypatch.setattr(maillog._stream, "write", lambda name, level, fields: None)
        monkeypatch.setattr(compiler.process, "start", self._start)
        monkeypatch.setattr(compiler.os, "waitpid", lambda pid, options: (pid, 0))
        recipients = {}
        if text is not None:
            self.write(text, age=100)
            recipients = {"file": str(self.text)}
        settings = Settings(
            hostname="mx.test",
            spool_dir=directory,
            relay={"local_domains": "a.test"},
            recipients=recipients,
            directories=[{"name": "office", "url": "file:///x"}],
        )
        self.table = Table(table_path(directory, "office"), read_by("i"))
        self.refreshes = Refreshes(settings)

    def _start(self, name, _detach, work):
        said = []
        keeper = self.refreshes._files[0]._keeper
        before = dict(vars(keeper))
        work(said.append)
        vars(keeper).update(before)  # what a child notes is lost
        self.now += self.seconds
        self.compiles += name == "directory"
        return Done(said[0])

    def write(self, text, age=0.0):
        self.text.write_text(text)
        written = 1_700_000_000 + self.now - age
        os.utime(self.text, (written, written))

    def change(self, *names):
        entries = [Entry(name.encode(), name, (Listed(f"{name}@a.test"),)) for name in names]
        if self.table.generation:
            self.table.apply(entries, [])
            self.table.settle(b"")
            return
        self.table.begin()
        self.table.add(entries)
        self.table.swap(b"")

    def lose_table(self):
        """The directory process begins it anew, as when its file was removed or is damaged."""
        self.table.close()
        self.table.path.unlink()
        self.table = Table(self.table.path, read_by("i"))

    def turn(self, seconds=0.0):
        """So many seconds, in steps of a tenth; the directory process has said at once what changed."""
        until = self.now + seconds
        self.refreshes.look_now()
        while True:
            self.refreshes.turn(lambda: None)
            self.refreshes.turn(lambda: None)
            if self.now >= until:
                return
            self.now += 0.1

    def has(self, name):
        directory = SnapshotDirectory(self.directory / SNAPSHOT_NAME, Normalisation("+"))
        return directory.lookup(Address.parse(f"{name}@a.test")) is Presence.EXISTS


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = []

    def make(text=None):
        made.append(World(tmp_path, monkeypatch, text))
        made[-1].turn()
        return made[-1]

    yield make
    for each in made:
        each.table.close()


def test_a_server_starts_with_a_table_that_was_never_read(world):
    w = world()
    assert (w.compiles, w.refreshes.settled, w.refreshes.unusable()) == (1, True, [])


def test_a_change_is_compiled_at_once_and_once(world):
    w = world()
    w.turn(3)
    w.change("ann")
    w.turn()
    assert (w.has("ann"), w.compiles) == (True, 2)
    w.turn(60)
    assert w.compiles == 2
    w.table.settle(b"9")
    w.turn(60)
    assert w.compiles == 2, "nothing changed"


def test_who_is_known_stays_so_while_the_table_of_the_source_is_lost(world):
    w = world()
    w.turn(5)
    w.change("ann")
    w.turn(5)
    w.lose_table()
    w.turn(60)
    assert (w.has("ann"), w.compiles) == (True, 2)
    w.change("bob")
    w.turn()
    assert (w.has("ann"), w.has("bob")) == (False, True)


def test_who_is_known_of_a_lost_table_stays_so_when_something_else_changes(world):
    w = world("eve@a.test\n")
    w.turn(5)
    w.change("ann")
    w.turn(5)
    w.lose_table()
    w.write("zoe@a.test\n", age=50)
    w.turn(5)
    assert (w.has("ann"), w.has("zoe"), w.has("eve"), w.refreshes.problems) == (True, True, False, [])
    w.change("bob")
    w.turn(5)
    assert (w.has("ann"), w.has("bob")) == (False, True)


def test_a_table_that_cannot_be_read_keeps_nobody_new_elsewhere_waiting(world, monkeypatch):
    w = world("eve@a.test\n")
    w.turn(5)
    w.change("ann")
    w.turn(5)
    whole = w.table.path.with_name("whole")
    w.table.close()
    w.table.path.rename(whole)
    w.table.path.write_bytes(b"no database" * 1000)
    said = []
    monkeypatch.setattr(maillog._stream, "write", lambda name, level, fields: said.append(str(name)))
    w.write("eve@a.test\nzoe@a.test\n", age=50)
    before = w.compiles
    w.turn(300)
    assert (w.has("ann"), w.has("zoe")) == (True, True)
    assert (w.compiles - before, said) == (1, ["directory-refused"])
    name, sentence = w.refreshes.problems
    assert name.endswith("is not usable")
    assert sentence.startswith(f"office: {w.table.path} cannot be read: file is not a database.")
    whole.rename(w.table.path)
    w.turn(5)
    assert (w.refreshes.problems, said[1:]) == ([], ["directory-compiled"])


def test_changes_without_end_cost_a_fifth_of_the_time(world):
    w = world()
    begun = w.now
    for number in range(200):
        w.change(f"user{number}")
        w.turn(0.1)
    spent = (w.compiles - 1) * w.seconds
    assert 0.15 <= spent / (w.now - begun) <= 0.2
    w.turn(5)
    assert w.has("user199")


def test_on_a_busy_machine_no_change_waits_for_the_time_in_which_others_ran(world):
    w = world()
    w.turn(5)
    w.seconds, w.share = 4.0, 0.005
    w.change("ann")
    w.turn()
    w.change("bob")
    w.turn(0.1)
    assert w.has("bob")


def test_a_file_that_may_be_unfinished_holds_a_compile_up(world):
    w = world("ann@a.test\nbob@a.test\neve@a.test\ndan@a.test\n")
    w.turn(5)
    w.write("ann@a.test\n")
    w.change("zoe")
    w.turn(5)
    assert (w.has("eve"), w.has("zoe")) == (True, False)
    w.turn(10)
    assert (w.has("eve"), w.has("zoe")) == (False, True)


def test_a_mistake_in_the_file_keeps_what_is_in_force_and_is_not_compiled_all_the_time(world):
    w = world("ann@a.test\n")
    w.turn(5)
    w.write("ann@a.test\nno good\n", age=50)
    w.change("zoe")
    w.turn(30)
    assert w.has("ann")
    assert not w.has("zoe")
    assert w.refreshes.problems
    assert w.compiles <= 4
    w.write("ann@a.test\n", age=20)
    w.turn(5)
    assert w.has("zoe")
    assert not w.refreshes.problems


@pytest.mark.parametrize("text", [None, "ann@a.test\n"], ids=["no-file", "file"])
def test_a_compile_that_the_disk_does_not_take_is_said_once_and_tried_now_and_then(world, monkeypatch, text):
    w = world(text)
    w.turn(5)
    said, compile_directory, before = [], inputs.compile_directory, w.compiles
    monkeypatch.setattr(maillog._stream, "write", lambda name, level, fields: said.append(str(name)))
    monkeypatch.setattr(inputs, "compile_directory", full_disk)
    w.change("zoe")
    w.turn(100)
    assert said == ["directory-refused"]
    assert w.refreshes.problems
    assert w.compiles - before <= 4
    monkeypatch.setattr(inputs, "compile_directory", compile_directory)
    w.turn(60)
    assert (w.has("zoe"), w.refreshes.problems) == (True, [])
    assert said == ["directory-refused", "directory-compiled"]


def test_a_compile_that_takes_longer_than_the_time_between_two_looks_is_followed_by_a_look(world):
    w = world()
    w.turn(20)
    w.seconds = 2.5 * compiler.CHECK_TIME
    w.change("ann")
    w.refreshes.look_now()
    w.refreshes.turn(lambda: None)
    assert w.refreshes.descriptor >= 0, "it compiles"
    w.change("bob")
    for _ in range(100):  # as the supervisor does, for which a time in the past is no deadline
        w.refreshes.turn(lambda: None)
        if w.refreshes.descriptor < 0:
            assert w.refreshes.wake_at > w.now
            w.now = w.refreshes.wake_at
    assert w.has("bob")


def test_all_sources_are_looked_at_in_one_turn_of_the_supervisor(world):
    w = world("ann@a.test")
    w.turn(20)
    for each in w.refreshes._all:  # at two moments
        w.now += 0.3
        each.look_now()
        each.turn(lambda: None)
    begun, turns = w.now, 0
    while w.now < begun + 60:
        w.refreshes.turn(lambda: None)
        w.now = w.refreshes.wake_at
        turns += 1
    assert turns <= 61
    assert w.compiles == 1, "nothing has changed"
