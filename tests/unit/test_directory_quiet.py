"""When a changed recipient file is taken over: the quiet it needs, by a clock that the test turns, and what is said meanwhile."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from mailmoat import clock, maillog
from mailmoat._native import Address, Normalisation
from mailmoat.directory import inputs
from mailmoat.directory.directory import DIRECTORY_STATE, Presence, SourceState
from mailmoat.directory.snapshot import SNAPSHOT_NAME
from mailmoat.directory.snapshot_directory import SnapshotDirectory
from mailmoat.metrics import Metrics, share
from mailmoat.settings.sections.directory import DirectorySettings
from mailmoat.supervisor import compiler as module
from mailmoat.supervisor.compiled_files import recipient_file
from mailmoat.supervisor.refresh import Refresh

RELAY = SimpleNamespace(default_domain="local.test", local_domains=("local.test",), unfiltered_domains=())
FOUR = "".join(f"{name}@local.test\n" for name in ("ann", "bob", "carol", "dora"))


class Done:
    """A child that has said what it had to say."""

    pid = 0

    def __init__(self, report: str) -> None:
        self.report = report
        self.descriptor, write = os.pipe()
        os.close(write)

    def listen(self) -> None:
        os.close(self.descriptor)
        self.descriptor = -1

    def close(self) -> None:
        pass


def tree(spool_dir: Path, source: Path, relay: SimpleNamespace) -> SimpleNamespace:
    """Settings, as far as they concern the recipient file."""
    recipients = SimpleNamespace(file=source)
    return SimpleNamespace(
        spool_dir=spool_dir,
        relay=relay,
        recipients=recipients,
        normalisation=Normalisation("+"),
        directory=DirectorySettings(),
        directories=(),
    )


class World:
    """A refresh whose children run at once, in the test's process, and whose clocks stand still."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.lines: list[tuple[str, dict]] = []
        self.source = directory / "recipients"
        self.snapshot = directory / SNAPSHOT_NAME
        self.metrics = Metrics(share(1, sources=1), 1)
        monkeypatch.setattr(clock, "monotonic", lambda: self.now)
        monkeypatch.setattr(clock, "wall_ms", lambda: int((1_700_000_000 + self.now) * 1000))
        monkeypatch.setattr(maillog._stream, "write", lambda name, level, fields: self.lines.append((name, fields)))
        monkeypatch.setattr(module.process, "start", self._start)
        monkeypatch.setattr(module.os, "waitpid", lambda pid, options: (pid, 0))
        self.refresh = Refresh(recipient_file(tree(directory, self.source, RELAY)))

    def _start(self, _name, _detach, work):
        said: list[str] = []
        work(said.append)
        return Done(said[0])

    def write(self, text: str, age: float = 0.0) -> None:
        """`age` seconds ago."""
        self.source.write_text(text)
        written = 1_700_000_000 + self.now - age
        os.utime(self.source, (written, written))

    def turn(self, seconds: float = 0.0) -> None:
        """So many seconds, turn by turn as the supervisor does."""
        until = self.now + seconds
        while True:
            self.refresh.turn(lambda: None, self.metrics)
            self.refresh.turn(lambda: None, self.metrics)  # takes what the child said
            if self.now >= until:
                return
            self.now += 1.0

    def has(self, name: str) -> bool:
        directory = SnapshotDirectory(self.snapshot, Normalisation("+"))
        return directory.lookup(Address.parse(f"{name}@local.test")) is Presence.EXISTS

    def said(self, event: str) -> list[dict]:
        return [fields for name, fields in self.lines if name == event]

    @property
    def state(self) -> list[str]:
        row = self.metrics.shared.row(1)
        return [state for state in SourceState if row[DIRECTORY_STATE[state]]]


def held_to_its_mode(compile_directory):
    """The same for root, who may read everything."""

    def compile_if_readable(inputs, *rest):
        ((_, _, source),) = inputs
        if not Path(source).stat().st_mode & 0o400:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), source)
        return compile_directory(inputs, *rest)

    return compile_if_readable


def settled(refresh) -> bool:
    """As at a start and at a reload; whether there is a snapshot to serve with."""
    while not refresh.settled:
        refresh.turn(lambda: None)
    return refresh.usable


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = World(tmp_path, monkeypatch)
    made.write(FOUR, age=60)
    assert settled(made.refresh)
    made.turn()
    assert made.state == ["current"]
    return made


def test_a_finished_file_is_taken_at_once(world):
    world.write(FOUR + "emil@local.test\n", age=3)
    world.turn(1)
    assert world.has("emil")
    assert world.said("directory-waits") == []


def test_a_file_written_just_now_is_taken_when_it_has_been_quiet(world):
    world.write(FOUR + "emil@local.test\n")
    world.turn(9)
    assert not world.has("emil")
    assert world.state == ["waiting"]
    world.turn(2)
    assert world.has("emil")
    assert world.state == ["current"]
    assert [line["detail"] for line in world.said("directory-waits")] == ["it was written just now"]


def test_each_write_begins_the_quiet_anew(world):
    for part in range(1, 5):
        world.write(FOUR + "".join(f"new{n}@local.test\n" for n in range(part)))
        world.turn(6)
        assert not world.has("new0")
    world.turn(6)
    assert world.has("new3")


@pytest.mark.parametrize("age", [0, 3600])
def test_a_file_that_lost_more_than_half_waits_however_old_it_looks(world, age):
    world.write("ann@local.test\n", age=age)
    world.turn(9)
    assert world.has("dora")
    assert world.state == ["waiting"]
    world.turn(3)
    assert not world.has("dora")
    assert world.has("ann")
    assert "shrank from" in world.said("directory-waits")[0]["detail"]


def test_a_reload_or_a_new_start_does_not_cut_the_quiet_short(world, tmp_path):
    world.write("ann@local.test\n")
    world.refresh = Refresh(recipient_file(tree(tmp_path, world.source, RELAY)))
    assert settled(world.refresh)
    assert world.has("dora")
    world.turn(12)
    assert not world.has("dora")


def test_other_settings_are_not_kept_waiting(world, tmp_path):
    world.write("ann@other.test\n")
    relay = SimpleNamespace(default_domain="other.test", local_domains=("other.test",), unfiltered_domains=())
    other = Refresh(recipient_file(tree(tmp_path, world.source, relay)))
    assert settled(other)
    assert (
        SnapshotDirectory(world.snapshot, Normalisation("+")).lookup(Address.parse("ann@other.test")) is Presence.EXISTS
    )


def test_a_file_that_cannot_be_read_is_blamed_at_once_and_by_its_own_name(world, monkeypatch):
    monkeypatch.setattr(inputs, "compile_directory", held_to_its_mode(inputs.compile_directory))
    world.source.chmod(0)
    world.turn(1)
    assert [line["detail"] for line in world.said("directory-refused")] == [
        f"{world.source}: it cannot be read: Permission denied"
    ]
    assert world.state == ["refused"]
    assert world.has("ann")
    world.source.chmod(0o644)
    world.turn(1)
    assert world.state == ["current"]
    assert len(world.said("directory-compiled")) == 2


def test_a_file_that_is_back_as_it_was_is_blamed_no_more(world, tmp_path):
    """Its disk was away: nothing is to be compiled when it returns."""
    (tmp_path / "etc").mkdir()
    world.source = tmp_path / "etc" / "recipients"
    world.write(FOUR, age=60)
    world.refresh = Refresh(recipient_file(tree(tmp_path, world.source, RELAY)))
    assert settled(world.refresh)
    (tmp_path / "etc").rename(tmp_path / "away")
    world.turn(1)
    assert world.state == ["refused"]
    (tmp_path / "away").rename(tmp_path / "etc")
    world.turn(1)
    assert world.state == ["current"]
    assert world.said("directory-compiled")[-1]["entries"] == 4


def test_a_snapshot_that_cannot_be_written_is_blamed_by_its_own_name(world, tmp_path):
    world.refresh = Refresh(recipient_file(tree(tmp_path / "none", world.source, RELAY)))
    assert not settled(world.refresh)
    (line,) = world.said("directory-refused")
    assert f"{tmp_path / 'none' / SNAPSHOT_NAME} cannot be made from it: No such file or directory" in line["detail"]


def test_what_does_nothing_is_told_at_load(world):
    world.write(FOUR + "emil@elsewhere.test\n", age=60)
    world.turn(1)
    (line,) = world.said("directory-entry-idle")
    assert line["detail"].startswith(f"{world.source}: line 5: elsewhere.test is not in relay.local_domains")
