"""The table of a source that is live for now: kept while it is of the same source, and nothing in it is fresh."""

import sqlite3

import pytest
from tests.doubles.kept_source import entry, read_by

from mailmoat.directory_process import set_aside as module
from mailmoat.directory_process.set_aside import set_aside
from mailmoat.directory_process.table import Table

URL = "ldaps://dc1.test:636"


@pytest.fixture
def path(tmp_path):
    table = Table(tmp_path / "a.db", read_by("i")._replace(url=URL))
    table.begin()
    table.add([entry(1)])
    table.swap(b"1")
    table.hold("too few")
    table.close()
    return tmp_path / "a.db"


def test_the_table_of_the_same_source_is_kept_and_counts_as_never_read(path):
    for _ in range(2):
        assert set_aside(path, URL)
    table = Table(path, read_by("i")._replace(url=URL))
    assert (table.entries, table.cookie, table.held, table.synced_ms) == (1, b"1", "too few", 0)


def test_that_of_another_source_is_not(path):
    assert not set_aside(path, "ldaps://other.test:636")


def test_one_that_cannot_be_used_is_not(path, tmp_path):
    assert not set_aside(tmp_path / "b.db", URL)
    assert not (tmp_path / "b.db").exists()
    path.write_bytes(b"no database at all" * 100)
    assert not set_aside(path, URL)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), sqlite3.OperationalError("readonly")])
def test_a_disk_that_does_not_take_it_stops_nothing(path, monkeypatch, error):
    """Not even where the table is damaged, and cannot be begun anew."""

    def fail(_path):
        raise error

    monkeypatch.setattr(module, "connect", fail)
    assert not set_aside(path, URL)
