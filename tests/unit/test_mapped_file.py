"""A compiled file is opened when it is another one, and at no other look."""

import errno

import pytest

from mailmoat.mapped_file import MappedFile

LOOKS = 100


class Opened:
    """What opens files, and says how often; `error` is what it fails with."""

    def __init__(self):
        self.times = 0
        self.error = None

    def __call__(self, path):
        self.times += 1
        if self.error is not None:
            raise self.error
        with open(path) as file:
            return file.read()


@pytest.fixture
def opened():
    return Opened()


def look(file):
    return [file.refresh() for _ in range(LOOKS)].count(True)


def test_a_file_that_is_not_there_is_never_opened(tmp_path, opened):
    file = MappedFile(tmp_path / "snapshot", opened)
    assert look(file) == 0
    assert (opened.times, file.value) == (0, None)
    assert isinstance(file.error, FileNotFoundError)


def test_one_that_comes_is_opened_once_and_stays_when_it_goes(tmp_path, opened):
    path = tmp_path / "snapshot"
    file = MappedFile(path, opened)
    path.write_text("new")
    assert look(file) == 1
    assert (opened.times, file.value, file.error) == (1, "new", None)
    path.unlink()
    assert look(file) == 0
    assert (opened.times, file.value) == (1, "new")
    assert isinstance(file.error, FileNotFoundError)
    path.write_text("again")
    assert (look(file), opened.times, file.value, file.error) == (1, 2, "again", None)


def test_one_that_cannot_be_opened_is_tried_at_each_look(tmp_path, opened):
    path = tmp_path / "snapshot"
    path.write_text("whole")
    opened.error = OSError(errno.EMFILE, "Too many open files")
    file = MappedFile(path, opened)
    assert look(file) == 0
    assert (opened.times, file.error) == (1 + LOOKS, opened.error)
    opened.error = None
    assert (look(file), file.value, file.error) == (1, "whole", None)


def test_one_below_what_is_no_directory_says_so(tmp_path, opened):
    (tmp_path / "spool").write_text("")
    file = MappedFile(tmp_path / "spool" / "snapshot", opened)
    assert isinstance(file.error, NotADirectoryError)
