"""Writing one setting: everything else in the file stays, a mistake changes nothing, and the file is never half there."""

from __future__ import annotations

import os
import stat
import tomllib

import pytest

from mailmoat.errors import ConfigError
from mailmoat.settings import Settings, entries, load
from mailmoat.settings.edit import write_setting

FILE = """\
# Our edge server; ask Ada before changing it.
hostname = "mx.example.test"   # as in the MX record

[tarpit]  # holds harvesters
time = 5      # seconds

# what follows was agreed with the other site
[relay]
local_domains = [
    "example.test",  # ours
    "example.org",
]
"""


@pytest.fixture
def toml(tmp_path):
    file = tmp_path / "mailmoat.toml"
    file.write_text(FILE)
    return file


def write(file, key, written, **environment):
    return write_setting(file, key, written, environment)


def test_a_new_value_and_nothing_else(toml):
    settings = write(toml, "tarpit.time", "2.5")
    assert toml.read_text() == FILE.replace("time = 5 ", "time = 2.5 ")
    assert settings.tarpit.time == 2.5
    assert settings.origin("tarpit.time") == str(toml)
    assert settings.origin("tarpit.max_held") == "default"


def test_a_new_group_comes_last(toml):
    settings = write(toml, "senderid.enabled", "on")
    assert toml.read_text() == FILE + "\n[senderid]\nenabled = true\n"
    assert settings.senderid.enabled is True


def test_a_setting_of_no_group_stays_of_no_group(toml):
    settings = write(toml, "workers", "3")
    assert settings.workers == 3
    assert tomllib.loads(toml.read_text())["workers"] == 3
    assert "# what follows was agreed" in toml.read_text()


def test_lists_become_arrays(toml):
    settings = write(toml, "senderid.bypassed_sender_domains", "A.test, b.test")
    assert settings.senderid.bypassed_sender_domains == ("a.test", "b.test")
    assert tomllib.loads(toml.read_text())["senderid"] == {"bypassed_sender_domains": ["A.test", "b.test"]}
    assert write(toml, "senderid.bypassed_sender_domains", "").senderid.bypassed_sender_domains == ()


@pytest.mark.parametrize("key", list(entries()))
def test_every_setting_can_be_written(key, tmp_path):
    file = tmp_path / "mailmoat.toml"
    file.write_text("# nothing yet\n")
    entry = entries()[key]
    default = entry.value(Settings())
    written = entry.form.show(default)
    settings = write(file, key, written)
    assert entry.value(settings) == default
    assert file.read_text().startswith("# nothing yet\n")
    assert tomllib.loads(file.read_text())


def test_a_mistake_changes_nothing(toml):
    with pytest.raises(ConfigError) as caught:
        write(toml, "senderid.temp_error_action", "Delete")
    [mistake] = caught.value.mistakes
    assert mistake.startswith(f'{toml}: senderid.temp_error_action = "Delete": would silently lose legitimate messages')
    assert mistake.endswith("write StampStatus or Reject")
    assert toml.read_text() == FILE
    assert os.listdir(toml.parent) == [toml.name]


def test_mistakes_that_were_there_before_are_told_too(toml):
    toml.write_text(FILE + "\n[queue]\nsize = 1\n")
    with pytest.raises(ConfigError) as caught:
        write(toml, "tarpit.time", "1")
    [mistake] = caught.value.mistakes
    assert mistake.startswith(f"{toml}: queue =")


@pytest.mark.parametrize("octets", [b"a = = 1\n", b"a = '\xff'\n", b"tarpit = 5\n"])
def test_a_file_that_cannot_be_used(toml, octets):
    toml.write_bytes(octets)
    with pytest.raises(ConfigError) as caught:
        write(toml, "tarpit.time", "1")
    assert str(toml) in caught.value.mistakes[0]
    assert toml.read_bytes() == octets


def test_the_environment_overrides_and_is_named(toml):
    settings = write(toml, "tarpit.time", "1", MAILMOAT_TARPIT__TIME="9")
    assert settings.tarpit.time == 9
    assert settings.origin("tarpit.time") == "MAILMOAT_TARPIT__TIME"
    assert load(toml, {}).tarpit.time == 1


def test_mode_and_owner_stay(toml):
    toml.chmod(0o640)
    before = toml.stat()
    if os.geteuid() == 0:
        os.chown(toml, 12345, 23456)
        before = toml.stat()
    write(toml, "tarpit.time", "1")
    after = toml.stat()
    assert (stat.S_IMODE(after.st_mode), after.st_uid, after.st_gid) == (0o640, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


def test_a_link_stays_a_link(toml, tmp_path):
    link = tmp_path / "here" / "settings.toml"
    link.parent.mkdir()
    link.symlink_to("../mailmoat.toml")
    settings = write(link, "recipients.file", "people.txt")
    assert link.is_symlink()
    assert "people.txt" in toml.read_text()
    assert settings.recipients.file == link.parent / "people.txt", "as the server reads it by that name"
    assert settings.origin("recipients.file") == str(link)


def test_line_ends_stay(toml):
    toml.write_bytes(FILE.replace("\n", "\r\n").encode())
    write(toml, "tarpit.time", "1")
    assert toml.read_bytes().count(b"\r\n") == FILE.count("\n")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "none.toml", "tarpit.time", "1")


def test_it_is_on_disk_before_it_takes_the_old_ones_place(toml, monkeypatch):
    done = []
    synced, replaced = os.fsync, os.rename

    def fsync(descriptor):
        done.append(("fsync", os.readlink(f"/proc/self/fd/{descriptor}")))
        synced(descriptor)

    def replace(old, new):
        done.append(("rename", os.fspath(old)))
        replaced(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write(toml, "tarpit.time", "1")
    assert [what for what, _ in done] == ["fsync", "rename", "fsync"]
    assert done[0][1] == done[1][1]
    assert done[2][1] == str(toml.parent)
