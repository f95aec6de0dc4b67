"""`mailmoat block` and `mailmoat allow`: what they change and print, and what they refuse."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from mailmoat._native import list_time
from mailmoat.cli import application


@pytest.fixture(autouse=True)
def spool(monkeypatch, tmp_path):
    (tmp_path / "spool").mkdir()
    monkeypatch.setenv("MAILMOAT_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setenv("MAILMOAT_HOSTNAME", "mx.example.test")
    monkeypatch.delenv("MAILMOAT_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "spool"


def run(*arguments, status=0, stdin=""):
    """Run it; what it prints."""
    result = CliRunner().invoke(application(), arguments, input=stdin)
    assert result.exit_code == status, result.output
    return result.output


def listed(name="block", *arguments):
    return {one["prefix"]: one for one in json.loads(run(name, "list", "--json", *arguments))}


def test_a_prefix_is_added_shown_and_removed():
    added = run("block", "add", "192.0.2.0/24", "2001:DB8::1", "--for", "24h", "--reason", "guesses addresses")
    assert re.findall(r"^(\S+): added, until (.*)$", added, re.MULTILINE)[1][0] == "2001:db8::1"
    entry = listed()["192.0.2.0/24"]
    assert (entry["list"], entry["reason"]) == ("block", "guesses addresses")
    assert list_time(entry["until"]) - list_time(entry["since"]) == 86_400
    assert run("block", "add", "192.0.2.0/24") == "192.0.2.0/24: changed, for ever\n"
    assert run("block", "list", "192.0.2.7") == "192.0.2.0/24  for ever  in block\n"
    assert run("block", "list", "--reason", "GUESSES").startswith("2001:db8::1  until ")
    assert run("allow", "list") == ""
    assert run("block", "remove", "192.0.2.0/24", "2001:db8::1").splitlines() == [
        "192.0.2.0/24: removed",
        "2001:db8::1: removed",
    ]
    assert "192.0.2.0/24: is not on the list" in run("block", "remove", "192.0.2.0/24", status=1)
    assert listed() == {}


def test_each_list_is_its_own():
    run("allow", "add", "192.0.2.7", "--until", "2090-12-31", "--reason", "partner")
    assert listed() == {}
    assert listed("allow")["192.0.2.7"]["until"] == "2090-12-31T00:00:00Z"


def test_the_entry_of_the_other_list_that_decides_is_named():
    run("block", "add", "192.0.2.0/24")
    run("allow", "add", "192.0.2.7")
    assert run("block", "list", "192.0.2.7").splitlines() == [
        "192.0.2.0/24  for ever  in block",
        "but what decides about 192.0.2.7 is 192.0.2.7  for ever  in allow",
    ]
    assert run("allow", "list", "192.0.2.7") == "192.0.2.7  for ever  in allow\n"
    assert run("block", "list", "192.0.2.8") == "192.0.2.0/24  for ever  in block\n"


def test_what_is_probably_not_meant_is_refused():
    assert "Write 192.0.2.0/24" in run("block", "add", "192.0.2.1/24", status=1)
    assert "not an address" in run("block", "add", "mx.example.test", status=1)
    assert "wider than /8; add --wide" in run("block", "add", "0.0.0.0/0", status=1)
    assert "added" in run("block", "add", "::/0", "--wide")
    assert "not in the future" in run("block", "add", "192.0.2.1", "--until", "2020-01-01", status=1)
    assert "not a time; write one in UTC, such as 2030-12-31" in run(
        "block", "add", "192.0.2.1", "--until", "tomorrow", status=1
    )
    assert "not a duration; write one such as 24h or 7d" in run("block", "add", "192.0.2.1", "--for", "soon", status=1)
    run("block", "add", "192.0.2.1", "--for", "1h", "--until", "2090-01-01", status=2)


def test_a_file_is_imported_whole_or_not_at_all(tmp_path):
    (tmp_path / "drop.txt").write_text("; a public list\n198.51.100.0/24 ; SBL1\n\n203.0.113.7 until=2090-01-01\n")
    assert run("block", "import", "drop.txt") == "2 entries imported; the list had 0 and has 2.\n"
    assert listed()["198.51.100.0/24"]["reason"] == "SBL1"
    refused = run("block", "import", stdin="192.0.2.1\nspam\n", status=1)
    assert 'mistake: standard input: line 2: "spam": not an address' in refused
    assert refused.endswith("nothing was imported\n")
    assert len(listed()) == 2
    assert run("block", "import", "--for", "1h", stdin="192.0.2.1") == "1 entry imported; the list had 2 and has 3.\n"
    assert run("block", "import", "-", "--replace", stdin="192.0.2.2\n").endswith("the list had 3 and has 1.\n")
    assert list(listed()) == ["192.0.2.2"]
    assert "No such file" in run("block", "import", "none.txt", status=1)


def test_an_empty_input_does_not_empty_the_list():
    run("block", "add", "192.0.2.1")
    assert "the input is empty" in run("block", "import", "--replace", stdin="", status=1)
    assert list(listed()) == ["192.0.2.1"]
    assert run("block", "import", "--replace", stdin="# none\n") == "0 entries imported; the list had 1 and has 0.\n"


def test_exports_are_imported_again(tmp_path):
    run("block", "import", stdin="192.0.2.0/24 since=2026-01-01 until=2090-01-01 # why; not\n198.51.100.7\n")
    before = listed()
    (tmp_path / "kept").write_text(run("block", "export"))
    run("block", "import", "--replace", "kept")
    assert listed() == before
    run("allow", "add", "192.0.2.128/25")
    assert run("block", "export", "--format", "cidr") == "192.0.2.0/25\n198.51.100.7/32\n"
    assert run("block", "export", "--format", "nft").startswith("# Clients on the block list of mailmoat")
    assert [one["prefix"] for one in json.loads(run("block", "export", "--format", "json"))] == list(before)
    assert "use mailmoat block export" in run("allow", "export", "--format", "nft", status=1)


def test_files_of_the_settings_are_shown_and_checked(tmp_path, monkeypatch):
    (tmp_path / "bad.txt").write_text("198.51.100.0/24 # of the file\n")
    monkeypatch.setenv("MAILMOAT_LISTS__BLOCK_FILES", str(tmp_path / "bad.txt"))
    run("block", "add", "192.0.2.1")
    assert listed()["198.51.100.0/24"]["source"] == str(tmp_path / "bad.txt")
    (tmp_path / "bad.txt").write_text("198.51.100.0/33\n")
    mistake = f"mistake: lists.block_files: {tmp_path / 'bad.txt'}: line 1: "
    assert mistake in run("block", "list", status=1)
    monkeypatch.setenv("MAILMOAT_RELAY__LOCAL_DOMAINS", "example.test")
    assert mistake in run("check-config", status=1)


def test_without_a_spool_directory_the_reason_is_named(spool):
    spool.rmdir()
    assert f"{spool}: No such file or directory; start the server once" in run("block", "add", "192.0.2.1", status=1)


@pytest.mark.parametrize("wide", ["0.0.0.0/0", "10.0.0.0/7", "::/0", "::ffff:0:0/96", "2000::/3"])
def test_a_file_with_a_prefix_for_half_the_world_is_not_imported(wide):
    refused = run("block", "import", stdin=f"192.0.2.1\n{wide} ; a mistake of its provider\n", status=1)
    assert re.search(r"is wider than /(8|16); add --wide if it is meant; nothing was imported\n$", refused)
    assert listed() == {}
    assert run("block", "import", "--wide", stdin=f"{wide}\n") == "1 entry imported; the list had 0 and has 1.\n"
