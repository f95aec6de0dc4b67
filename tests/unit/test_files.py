"""Files that are replaced whole."""

from __future__ import annotations

import os
import stat

import pytest

from mailmoat import files


@pytest.fixture
def synced(monkeypatch):
    """What was waited for, by inode, in order."""
    inodes = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (inodes.append(os.fstat(fd).st_ino), real(fd))[1])
    return inodes


def test_the_new_content_takes_the_place_of_the_old(tmp_path):
    target = tmp_path / "state"
    files.replace(target, b"one")
    files.replace(target, b"two")
    assert target.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [target]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_link_is_replaced_and_not_followed(tmp_path):
    other, target = tmp_path / "other", tmp_path / "state"
    other.write_text("kept")
    target.symlink_to(other)
    files.replace(target, b"new")
    assert other.read_text() == "kept"
    assert not target.is_symlink()


def test_content_and_entry_are_on_disk_when_the_block_has_ended(tmp_path, synced):
    target = tmp_path / "state"
    with files.replacing(target) as file:
        file.write(b"new")
        assert not target.exists()
    assert synced == [target.stat().st_ino, tmp_path.stat().st_ino]


def test_a_block_that_raises_leaves_the_old_content_alone(tmp_path, synced):
    target = tmp_path / "state"
    target.write_text("old")
    with pytest.raises(TypeError), files.replacing(target) as file:
        file.writelines([b"new", 5])
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
    assert synced == []


def test_a_file_made_in_another_directory(tmp_path):
    for name in ("tmp", "new"):
        files.make_directory(tmp_path / "box" / name)
    with files.replacing(tmp_path / "box" / "new" / "1", tmp_path / "box" / "tmp") as file:
        file.write(b"content")
        assert [path.name for path in (tmp_path / "box" / "tmp").iterdir()] == [os.path.basename(file.name)]
    assert (tmp_path / "box" / "new" / "1").read_bytes() == b"content"
    assert list((tmp_path / "box" / "tmp").iterdir()) == []


def test_each_directory_that_is_made_has_its_entry_on_disk(tmp_path, synced):
    files.make_directory(tmp_path / "a" / "b")
    assert synced == [tmp_path.stat().st_ino, (tmp_path / "a").stat().st_ino]
    files.make_directory(tmp_path / "a" / "b")
    assert len(synced) == 2
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        files.make_directory(tmp_path / "file")


def test_what_cannot_be_replaced_leaves_nothing_behind(tmp_path):
    (tmp_path / "state").mkdir()
    with pytest.raises(IsADirectoryError):
        files.replace(tmp_path / "state", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
