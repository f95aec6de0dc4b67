"""`mailmoat directory` where no server runs: a database that is asked, a file that nothing was read of yet, and the recipient file."""

import json
import os
import sqlite3

import pytest
from typer.testing import CliRunner

from mailmoat import clock
from mailmoat.cli import application
from mailmoat.cli.directory import _described, _lines
from mailmoat.directory import freshness
from mailmoat.directory.freshness import Freshness, SourceFreshness, SyncState
from mailmoat.directory.paths import freshness_path
from mailmoat.settings.sections.directories import SourceSettings, sources
from mailmoat.settings.sections.directory import DirectorySettings

LOOKUP = "SELECT email AS address, goto AS targets FROM users WHERE email IN (:address, :at_domain)"
SCHEMA = """
CREATE TABLE users(email text PRIMARY KEY, goto text);
INSERT INTO users VALUES('ann@example.test', NULL), ('all@example.test', 'ann@example.test,bob@example.test'), ('@old.test', '@example.test');
"""


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "users.db"
    base = sqlite3.connect(path)
    base.executescript(SCHEMA)
    base.close()
    return path


@pytest.fixture
def run(tmp_path, database):
    """Runs a command; beside the database there is a file, of which nothing was read, for plant.test."""
    (tmp_path / "recipients.txt").write_text("carol@example.test\n!dan@example.test\n")
    rows = [
        {"name": "asked", "url": f"sqlite://{database}", "mode": "live", "lookup_query": LOOKUP, "whole_domains": True},
        {"name": "plant", "url": f"file://{tmp_path}/plant.txt", "domains": "plant.test"},
    ]
    environment = {
        "MAILMOAT_HOSTNAME": "mx.example.test",
        "MAILMOAT_SPOOL_DIR": str(tmp_path / "spool"),
        "MAILMOAT_RELAY__LOCAL_DOMAINS": "example.test,old.test,plant.test",
        "MAILMOAT_RECIPIENTS__FILE": str(tmp_path / "recipients.txt"),
        "MAILMOAT_DIRECTORIES": json.dumps(rows),
    }

    def invoke(*arguments, status=0, **more):
        done = CliRunner().invoke(application(), ["directory", *arguments], env=environment | more)
        assert done.exit_code == status, done.output
        return done

    return invoke


def found(run, address, status=0):
    return json.loads(run("lookup", address, "--json", status=status).stdout)


def test_a_subaddress_exists_as_at_rcpt(run):
    assert run("lookup", "ann+x@example.test").stdout.splitlines() == [
        "ann+x@example.test: exists (asked was asked and has it)",
        "  recipients.file: absent (neither it nor its domain is listed)",
        "  asked: exists (asked was asked and has it; the entry is ann@example.test)",
        "  plant: elsewhere (example.test is not in the domains of this source)",
    ]


def test_the_json_has_source_entry_and_targets(run):
    document = found(run, "all@example.test")
    sources = document.pop("sources")
    assert document == {
        "address": "all@example.test",
        "source": "asked",
        "answer": "exists",
        "entry": "all@example.test",
        "age": None,
        "targets": ["ann@example.test", "bob@example.test"],
        "why": "all@example.test: exists (asked was asked and has it, its mail goes to ann@example.test bob@example.test)",
    }
    assert [(one["source"], one["answer"]) for one in sources] == [
        ("recipients.file", "absent"),
        ("asked", "exists"),
        ("plant", "elsewhere"),
    ]
    assert all(one.keys() == document.keys() - {"address"} for one in sources)


def test_the_recipient_file_decides_first(run):
    document = found(run, "carol@example.test")
    assert (document["source"], document["entry"]) == ("recipients.file", "line 1")
    document = found(run, "dan@example.test", status=1)
    assert (document["answer"], document["source"], document["entry"]) == ("absent", "recipients.file", "line 2")


def test_another_name_of_a_domain_is_followed(run):
    assert found(run, "ann@old.test")["targets"] == ["ann@example.test"]
    assert found(run, "eve@old.test", status=1)["answer"] == "absent"


def test_what_was_never_read_is_unknown(run):
    document = found(run, "eve@plant.test", status=1)
    assert document["answer"] == "unknown"
    assert "plant: it was not read whole yet" in document["why"]


def test_an_outage_is_unknown_and_says_why(run, database):
    database.unlink()
    lines = run("lookup", "ann@example.test", status=1).stdout.splitlines()
    assert lines[0] == "ann@example.test: unknown (asked was asked and did not answer)"
    assert lines[2].startswith(f"  asked: unknown ({database}: unable to open database file")


def test_an_address_elsewhere_and_one_that_is_none(run):
    assert found(run, "ann@else.test", status=1)["answer"] == "elsewhere"
    assert "mailmoat: ann@@x: " in run("lookup", "ann@@x", status=1).stderr


def test_without_sources_the_recipient_file_is_looked_up(run):
    assert run("lookup", "carol@example.test", MAILMOAT_DIRECTORIES="[]").stdout.splitlines() == [
        "carol@example.test: exists (listed on line 1)",
        "  recipients.file: exists (listed on line 1)",
    ]
    assert "directories is not set" in run("status", status=1, MAILMOAT_DIRECTORIES="[]").stderr


def test_a_command_that_needs_the_server_says_so(run):
    assert "no directory process runs" in run("sync", status=1).stderr
    assert "--accept-shrink needs the name of one source" in run("sync", "--accept-shrink", status=1).stderr


def test_the_status_says_what_is_kept_that_the_controller_lacks(run, tmp_path):
    path = freshness_path(tmp_path / "spool")
    path.parent.mkdir(parents=True)
    why = "ads://dc2.test serves in place of another controller and may be behind: 3 entries that it lacks are kept for a day"
    known = SourceFreshness("plant", SyncState.CURRENT, entries=9, kept=3, kept_why=why)
    freshness.write(path, Freshness((known,)))
    assert f"  {why}" in run("status", status=1).stdout.splitlines()
    plant, _ = json.loads(run("status", "--json", status=1).stdout)
    assert (plant["kept"], plant["kept_why"]) == (3, why)


def test_the_status_says_what_is_passed_over_and_how_long_what_was_read_counts():
    """For whom an alarm wakes up: a server that is away while another one serves, and the time that is left with none."""
    row = sources(DirectorySettings(), [SourceSettings(name="plant", url="ldaps://s1.test, ldaps://s2.test")])[0]
    known = SourceFreshness("plant", SyncState.CURRENT, synced_ms=clock.wall_ms() - 3_600_000, entries=1, server="s2")
    known.passed_over = ("s1: no connection",)
    assert [*_lines([_described(row, known, "")], [])][1:] == ["  passed over: s1: no connection"]
    known.state, known.reason = SyncState.FAILED, "s1: no connection; s2: no connection"
    assert [*_lines([_described(row, known, "")], [])][1:] == [
        "  s1: no connection; s2: no connection",
        "  what was read is in force; in 23h0m (max_age) what is not found becomes unknown or accepted",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root works with the rights of another account")
def test_another_account_is_told_whom_to_be(run, database, tmp_path):
    """It may read the settings, not the spool directory: nothing there looks as if nothing was ever read."""
    (tmp_path / "spool").mkdir(mode=0o700)
    commands = (("status",), ("lookup", "ann@example.test"), ("diff", "plant"), ("export", "plant"))
    assert "No server runs: this is what the last one knew." in run("status", status=1).output
    os.seteuid(65534)
    try:
        outputs = [run(*words, status=1).output for words in commands]
    finally:
        os.seteuid(0)
    for output in outputs:
        assert "Permission denied; run this as root or as the server's account" in output
