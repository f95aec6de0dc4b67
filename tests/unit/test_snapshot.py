"""The compiled recipient directory, through the extension."""

from __future__ import annotations

import pytest

from mailmoat._native import Address, Directory, Normalisation, compile_directory

ABSENT, LISTED, DOMAIN, EXCLUDED = range(4)


@pytest.fixture
def build(tmp_path):
    def build(text):
        source, target = tmp_path / "recipients", tmp_path / "snapshot"
        source.write_text(text, encoding="utf-8")
        entries, problems, _ = compile_directory(
            [(0, "", str(source))], str(target), "local.test", [], [], Normalisation()
        )
        assert problems == []
        directory = Directory(str(target))
        assert directory.entries == entries
        return directory

    return build


@pytest.mark.parametrize(
    ("entry", "asked"),
    [
        ("Info@Local.test", "info@LOCAL.TEST"),
        ("bare", "Bare@local.test"),
        ('"info"@local.test', "info@local.test"),
        ("info@local.test.", "info@local.test"),
        ("info@bücher.test", "info@XN--BCHER-KVA.test"),
        ("info@xn--bcher-kva.test", "info@BÜCHER.test"),
        ("grüße@local.test", "grüße@local.test"),
        ("gru\u0308ße@local.test", "grüße@local.test"),
        ('"a b"@local.test', r'"a\ b"@local.test'),
        ("info@[192.0.2.1]", "info@[192.0.2.1]"),
        ("someone%remote.tld@local.test", "someone%remote.tld@local.test"),
    ],
)
def test_every_spelling_of_an_entry_is_found(build, entry, asked):
    directory, address = build(entry), Address.parse(asked)
    assert directory.lookup(address.key, address.domain) == (LISTED, 0, 1)


@pytest.mark.parametrize(
    "asked", ["someone%remote.tld@local.test", '"info@local.test"@local.test', "info@sub.local.test"]
)
def test_nothing_hidden_in_a_local_part_is_found(build, asked):
    directory, address = build("info@local.test\nsomeone@remote.tld"), Address.parse(asked)
    assert directory.lookup(address.key, address.domain)[0] == ABSENT


def test_an_exclusion_beats_its_domain(build):
    directory = build("@local.test\n!gone@local.test\n")
    assert directory.lookup("gone@local.test", "local.test")[0] == EXCLUDED
    assert directory.lookup("else@local.test", "local.test")[0] == DOMAIN
    assert directory.lookup("else@other.test", "other.test")[0] == ABSENT


def test_duplicates_are_one_entry(build):
    assert build("a@local.test\nA@LOCAL.test\na\n").entries == 1


def test_problems_write_nothing(tmp_path):
    source, target = tmp_path / "recipients", tmp_path / "snapshot"
    source.write_bytes(b"a@local.test\na b\xff\n")
    entries, problems, _ = compile_directory([(0, "", str(source))], str(target), "", [], [], Normalisation())
    assert len(problems) == 1
    assert problems[0][1].startswith("line 2: ")
    assert "UTF-8" in problems[0][1]
    assert [path.name for path in tmp_path.iterdir()] == ["recipients"]
    assert entries in {0, 1}


@pytest.mark.parametrize("content", [b"", b"garbage", b"MMDIRSNP" + bytes(200)])
def test_what_is_no_snapshot_is_refused(tmp_path, content):
    path = tmp_path / "snapshot"
    path.write_bytes(content)
    with pytest.raises(OSError):
        Directory(str(path))


def test_missing_files_are_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        Directory(str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError):
        compile_directory([(0, "", str(tmp_path / "none"))], str(tmp_path / "snapshot"), "", [], [], Normalisation())
