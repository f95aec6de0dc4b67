"""The file directory, its keeper, and what a command opens."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from mailmoat import clock
from mailmoat._native import Address, Normalisation
from mailmoat.directory.configured import open_directory
from mailmoat.directory.directory import Presence
from mailmoat.directory.inputs import RecipientsCompiler
from mailmoat.directory.snapshot import SNAPSHOT_NAME, Scope, SnapshotKeeper
from mailmoat.directory.snapshot_directory import SnapshotDirectory
from mailmoat.errors import ConfigError
from mailmoat.file_changes import RETRY_TIME
from mailmoat.settings.sections.directory import DirectorySettings

SCOPE = Scope("local.test")
ANN, BOB = Address.parse("ann@local.test"), Address.parse("bob@local.test")


@pytest.fixture
def source(tmp_path):
    return tmp_path / "recipients"


@pytest.fixture
def keeper(tmp_path, source):
    return SnapshotKeeper(source, tmp_path / SNAPSHOT_NAME, RecipientsCompiler(source, (), SCOPE))


def write(path, text):
    """As an operator should: whole, by rename."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)


def test_a_change_is_due_once_and_then_seen(tmp_path, source, keeper):
    write(source, "ann@local.test\n")
    assert keeper.due()
    report = keeper.compile()
    assert (report.entries, report.problems, report.changed) == (1, (), True)
    assert not keeper.due()

    directory = SnapshotDirectory(tmp_path / SNAPSHOT_NAME, Normalisation("+"))
    assert directory.lookup(BOB) is Presence.ABSENT
    assert not directory.refresh()

    write(source, "ann@local.test\nbob\n")
    assert keeper.due()
    assert keeper.compile().entries == 2
    assert directory.lookup(BOB) is Presence.ABSENT
    assert directory.refresh()
    assert directory.lookup(BOB) is Presence.EXISTS
    assert directory.entries == 2


def test_a_broken_file_keeps_the_old_snapshot_and_is_reported_once(tmp_path, source, keeper):
    write(source, "ann@local.test\n")
    keeper.compile()
    write(source, "ann@local.test\n!ann@local.test\n")
    assert keeper.due()
    report = keeper.compile()
    assert not report.changed
    assert report.problems[0].startswith(f"{source}: line 2: ")
    assert not keeper.due()
    assert SnapshotDirectory(tmp_path / SNAPSHOT_NAME, Normalisation("+")).lookup(ANN) is Presence.EXISTS
    write(source, "bob\n")
    assert keeper.due()
    assert keeper.compile().changed
    assert not keeper.due()


def test_a_new_process_finds_the_snapshot_good(tmp_path, source, keeper):
    write(source, "ann@local.test\n")
    keeper.compile()
    assert not SnapshotKeeper(source, tmp_path / SNAPSHOT_NAME, RecipientsCompiler(source, (), SCOPE)).due()
    assert SnapshotKeeper(source, tmp_path / SNAPSHOT_NAME, RecipientsCompiler(source, (), Scope("other.test"))).due()
    os.utime(source, ns=(0, 0))
    assert SnapshotKeeper(source, tmp_path / SNAPSHOT_NAME, RecipientsCompiler(source, (), SCOPE)).due()
    (tmp_path / SNAPSHOT_NAME).write_bytes(b"torn")
    assert keeper.due()


def test_a_snapshot_that_nobody_replaced_is_not_opened_again(monkeypatch, tmp_path, source, keeper):
    opened, open_ = [], RecipientsCompiler.made_from
    monkeypatch.setattr(RecipientsCompiler, "made_from", lambda *given: opened.append(1) or open_(*given))
    write(source, "ann@local.test\n")
    keeper.compile()
    assert not any(keeper.due() for _ in range(100))
    assert len(opened) == 1
    write(source, "bob@local.test\n")
    assert keeper.due()
    assert len(opened) == 1
    keeper.compile()
    assert not any(keeper.due() for _ in range(100))
    assert len(opened) == 2
    (tmp_path / SNAPSHOT_NAME).unlink()
    assert keeper.due()


def test_a_missing_source_is_a_problem_tried_again_later(monkeypatch, source, keeper):
    now = 1000.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    report = keeper.compile()
    assert not report.changed
    assert "No such file" in report.problems[0]
    assert not keeper.due()
    now += RETRY_TIME
    assert keeper.due()
    keeper.compile()
    assert not keeper.due()
    write(source, "ann@local.test\n")
    assert keeper.due()
    assert keeper.compile().changed


def test_without_a_good_snapshot_nothing_is_known(tmp_path, source, keeper):
    path = tmp_path / SNAPSHOT_NAME
    directory = SnapshotDirectory(path, Normalisation("+"))
    assert directory.lookup(ANN) is Presence.UNKNOWN
    assert "not compiled yet" in directory.explain(ANN)
    path.write_bytes(b"garbage")
    assert not directory.refresh()
    assert directory.lookup(ANN) is Presence.UNKNOWN
    assert "not a recipient snapshot" in directory.explain(ANN)
    write(source, "ann@local.test\n")
    keeper.compile()
    assert directory.refresh()
    assert directory.lookup(ANN) is Presence.EXISTS


@pytest.mark.parametrize("trouble", ["gone", "garbage"])
def test_a_snapshot_in_force_outlives_its_file(tmp_path, source, keeper, trouble):
    path = tmp_path / SNAPSHOT_NAME
    write(source, "ann@local.test\n")
    keeper.compile()
    directory = SnapshotDirectory(path, Normalisation("+"))
    path.unlink()
    if trouble == "garbage":
        path.write_bytes(b"garbage")
    assert not directory.refresh()
    assert directory.lookup(ANN) is Presence.EXISTS
    assert directory.lookup(BOB) is Presence.ABSENT


def test_it_explains_by_line(tmp_path, source, keeper):
    write(source, "ann@local.test\n@whole.test\n!gone@whole.test\n")
    keeper.compile()
    directory = SnapshotDirectory(tmp_path / SNAPSHOT_NAME, Normalisation("+"))
    sentences = {
        "ann@local.test": "exists (listed on line 1)",
        "any@whole.test": "exists (every address at whole.test is listed on line 2)",
        "gone@whole.test": "absent (excluded on line 3)",
        "bob@local.test": "absent (neither it nor its domain is listed)",
        "ann+tag@local.test": "exists (as ann@local.test, listed on line 1)",
        "gone+tag@whole.test": "absent (as gone@whole.test, excluded on line 3)",
        "bob+tag@local.test": "absent (neither it nor its domain is listed)",
    }
    for address, sentence in sentences.items():
        assert directory.explain(Address.parse(address)) == f"{address}: {sentence}"


def settings(tmp_path, file):
    return SimpleNamespace(
        recipients=SimpleNamespace(file=file),
        normalisation=Normalisation("+"),
        directory=DirectorySettings(),
        directories=(),
        relay=SimpleNamespace(default_domain="local.test", local_domains=(), unfiltered_domains=()),
        spool_dir=tmp_path,
    )


def test_a_command_uses_the_servers_snapshot_or_its_own(tmp_path, source, keeper):
    assert open_directory(settings(tmp_path, None)) is None
    write(source, "ann\n")
    assert open_directory(settings(tmp_path, source)).lookup(ANN) is Presence.EXISTS
    assert not (tmp_path / SNAPSHOT_NAME).exists()
    keeper.compile()
    assert open_directory(settings(tmp_path, source)).lookup(ANN) is Presence.EXISTS
    write(source, "bob\n")
    directory = open_directory(settings(tmp_path, source))
    assert (directory.lookup(ANN), directory.lookup(BOB)) == (Presence.ABSENT, Presence.EXISTS)
    assert directory.explain(BOB) == "bob@local.test: exists (listed on line 1)"
    write(source, "bob@@\n")
    with pytest.raises(ConfigError, match="line 1"):
        open_directory(settings(tmp_path, source))
