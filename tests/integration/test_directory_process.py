"""The real server with a source of recipients: read, changed, away, killed, reloaded; and never "user unknown" in an outage."""

import json
import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from tests.doubles.steady import Steady

from mailmoat.directory import freshness
from mailmoat.directory.paths import freshness_path


class Source:
    """A script whose output the test decides."""

    def __init__(self, directory):
        self.entries = directory / "entries"
        self.status = directory / "status"
        self.script = directory / "list"
        self.script.write_text(f'#!/bin/sh\ncat {self.entries}\nexit "$(cat {self.status})"\n')
        self.script.chmod(0o755)
        self.says("ann@example.test", "dan@example.test")

    def says(self, *entries, status=0):
        self.status.write_text(str(status))
        self.entries.write_text("".join(f"{entry}\n" for entry in entries))

    def row(self, name="office", **given):
        return {"name": name, "url": f"script://{self.script}", "interval": "0.2s", **given}


@pytest.fixture
def source(tmp_path):
    return Source(tmp_path)


def rows(*given):
    return {"MAILMOAT_DIRECTORIES": json.dumps(given), "MAILMOAT_RECIPIENTS__FILE": None, "MAILMOAT_WORKERS": "1"}


def code(server, address):
    """Of the reply to RCPT."""
    with server.client() as client:
        client.ask("MAIL FROM:<a@remote.test>")
        return client.ask(f"RCPT TO:<{address}>").code


def known(server):
    """What the freshness file says of the first source."""
    return freshness.read(freshness_path(server.directory / "spool")).sources[0]


def pid_of(server, name="directory"):
    started = [line for line in server.logged("process-started") if line["process"] == name]
    return started[-1]["pid"]


def test_a_source_is_read_and_what_changes_in_it_is_seen(server, source):
    others = [f"{name}@example.test" for name in ("dan", "fay", "gus", "hal")]  # so that one less is not too many
    source.says("ann@example.test", *others)
    mx = server(**rows(source.row()))
    mx.until(lambda: code(mx, "ann@example.test") == 250, what="the first read")
    assert code(mx, "ann+tag@example.test") == 250
    mx.until(lambda: code(mx, "eve@example.test") == 550, what="the source to be in force")
    source.says("ann@example.test", "eve@example.test", *others)
    mx.until(lambda: code(mx, "eve@example.test") == 250, what="a new entry")
    source.says("eve@example.test", *others, "!ann@example.test")
    mx.until(lambda: code(mx, "ann@example.test") == 550, what="a removed entry")


def test_nothing_is_refused_before_the_first_read_and_during_an_outage(server, source):
    source.says(status=1)
    mx = server(**rows(source.row(max_age="5s")))
    assert code(mx, "ann@example.test") == 451
    [failed] = mx.until(lambda: mx.logged("directory-source-failed"), what="the outage in the log")
    assert "ended with exit status 1" in failed["detail"]
    source.says("ann@example.test", "bob@example.test")
    mx.until(lambda: code(mx, "ann@example.test") == 250, what="the first read")
    mx.until(lambda: code(mx, "eve@example.test") == 550, what="the source to be in force")
    source.says(status=1)
    mx.until(lambda: code(mx, "eve@example.test") == 451, what="the source to be too old")
    assert code(mx, "ann@example.test") == 250
    mx.until(lambda: mx.metric("directory_sources_stale") == 1, what="the alarm")
    assert mx.health()["status"] == "degraded"
    assert any("office" in reason or "source" in reason for reason in mx.health()["reasons"])
    source.says("ann@example.test", "bob@example.test")
    mx.until(lambda: code(mx, "eve@example.test") == 550, what="the source to be in force again")


def test_a_stale_source_can_accept(server, source):
    source.says(status=1)
    mx = server(**rows(source.row(when_stale="accept")))
    assert code(mx, "anybody@example.test") == 250


@pytest.mark.parametrize("entries", [(), ("ann@example.test",)], ids=["none", "half"])
def test_half_a_result_changes_nothing_until_it_is_accepted(server, source, entries):
    source.says("ann@example.test", "dan@example.test", "fay@example.test", "gus@example.test")
    mx = server(**rows(source.row()))
    mx.until(lambda: code(mx, "dan@example.test") == 250, what="the first read")
    source.says(*entries)
    mx.until(lambda: mx.logged("directory-source-failed"), what="the refusal")
    assert code(mx, "dan@example.test") == 250
    mx.cli("directory", "sync", "office", "--accept-shrink", check=True)
    if entries:
        mx.until(lambda: code(mx, "dan@example.test") == 550, what="what was accepted")
    else:
        mx.until(lambda: known(mx).state is not freshness.SyncState.CURRENT)
        assert code(mx, "dan@example.test") == 250


def test_a_killed_directory_process_goes_on_from_its_tables(server, source):
    mx = server(**rows(source.row()))
    mx.until(lambda: code(mx, "ann@example.test") == 250, what="the first read")
    mx.until(lambda: code(mx, "eve@example.test") == 550, what="the source to be in force")
    source.says(status=1)
    for _ in range(2):
        pid = pid_of(mx)
        os.kill(pid, signal.SIGKILL)
        assert (code(mx, "ann@example.test"), code(mx, "eve@example.test")) == (250, 550)
        mx.until(lambda pid=pid: pid_of(mx) != pid, what="another directory process")
    assert len(mx.logged("directory-read")) == 1, "nothing was read anew"
    source.says("ann@example.test", "dan@example.test", "eve@example.test")
    mx.until(lambda: code(mx, "eve@example.test") == 250, what="a new entry")


def test_another_row_after_a_reload(server, source, tmp_path):
    (tmp_path / "b").mkdir()
    other = Source(tmp_path / "b")
    other.says("bob@example.test")
    settings = f'[[directories]]\nname = "office"\nurl = "script://{source.script}"\ninterval = "0.2s"\n'
    mx = server(settings, MAILMOAT_RECIPIENTS__FILE=None, MAILMOAT_WORKERS="1")
    mx.until(lambda: code(mx, "ann@example.test") == 250, what="the first read")
    more = settings.replace("office", "plant").replace(str(source.script), str(other.script))
    mx.config.write_text(settings + more)
    mx.cli("reload", check=True)
    mx.until(lambda: code(mx, "bob@example.test") == 250, what="the other source")
    assert code(mx, "ann@example.test") == 250
    mx.config.write_text(more)
    mx.cli("reload", check=True)
    mx.until(lambda: code(mx, "ann@example.test") == 550, what="the first source to be gone")
    assert code(mx, "bob@example.test") == 250
    mx.until(lambda: not (tmp_path / "spool/directory/office.db").exists(), what="its table to be gone")


def test_a_row_that_permits_less_does_so_at_once_though_the_source_is_away(server, source):
    settings = f'[[directories]]\nname = "office"\nurl = "script://{source.script}"\ninterval = "0.2s"\n'
    source.says("ann@example.test", "dan@example.test", "@example.test")
    mx = server(settings + "whole_domains = true\n", MAILMOAT_RECIPIENTS__FILE=None, MAILMOAT_WORKERS="1")
    mx.until(lambda: code(mx, "eve@example.test") == 250, what="the whole domain")
    source.says(status=1)
    mx.until(lambda: known(mx).state is freshness.SyncState.FAILED, what="the outage")
    mx.config.write_text(settings)
    mx.cli("reload", check=True)
    mx.until(lambda: code(mx, "eve@example.test") == 550, what="the end of the whole domain")
    assert code(mx, "ann@example.test") == 250
    assert known(mx).state is freshness.SyncState.FAILED
    [tightened] = mx.logged("directory-tightened")
    assert (tightened["removed"], tightened["entries"]) == (1, 2)


def test_a_live_source_is_asked(server, tmp_path):
    script = tmp_path / "ask"
    script.write_text('#!/bin/sh\ncase "$1" in ann@*) exit 0;; err*) exit 9;; *) exit 1;; esac\n')
    script.chmod(0o755)
    mx = server(**rows({"name": "office", "url": f"script://{script}", "mode": "live"}))
    mx.until(lambda: code(mx, "ann@example.test") == 250, what="the directory process")
    assert (code(mx, "eve@example.test"), code(mx, "err@example.test")) == (550, 451)
    for number in range(8):
        assert code(mx, f"err+{number}@example.test") == 451
    assert code(mx, "eve2@example.test") == 550, "addresses at which the program fails hold back no others"
    found = mx.cli("recipients", "check", "ann@example.test", "eve@example.test").stdout.splitlines()
    assert found[0] == "ann@example.test: exists (office was asked and has it)"
    assert found[1].startswith("eve@example.test: absent")
    live = "mailmoat: office: the source is live: it is asked for each address, and is never read whole\n"
    assert mx.cli("directory", "sync", "office").stderr == live
    assert mx.cli("directory", "export", "office").stderr == live


def test_a_source_that_was_live_for_a_while_lost_nothing_and_refuses_nobody(server, source, tmp_path):
    source.script.write_text(
        f'#!/bin/sh\n[ "$1" ] || {{ cat {source.entries}; exit "$(cat {source.status})"; }}\ngrep -qFx "$1" {tmp_path}/asked\n'
    )
    settings = f'[[directories]]\nname = "office"\nurl = "script://{source.script}"\ninterval = "0.2s"\n'
    mx = server(settings, MAILMOAT_RECIPIENTS__FILE=None, MAILMOAT_WORKERS="1")
    mx.until(lambda: code(mx, "eve@example.test") == 550, what="the source to be in force")
    (tmp_path / "asked").write_text("ann@example.test\nnew@example.test\n")
    mx.config.write_text(settings + 'mode = "live"\n')
    mx.cli("reload", check=True)
    mx.until(lambda: code(mx, "new@example.test") == 250, what="the live source")
    source.says(status=1)
    mx.config.write_text(settings)
    mx.cli("reload", check=True)
    codes = []
    mx.until(lambda: codes.append(code(mx, "new@example.test")) or codes[-1] == 451, what="the end of the live source")
    assert set(codes) <= {250, 451}, "who came meanwhile is unknown until all is read"
    assert code(mx, "dan@example.test") == 250
    source.says("ann@example.test", "dan@example.test", "new@example.test")
    mx.until(lambda: code(mx, "new@example.test") == 250, what="the next read")
    mx.until(lambda: code(mx, "eve@example.test") == 550, what="the source to be in force again")


@pytest.mark.skipif("MAILMOAT_TEST_SOAK" not in os.environ, reason="a measurement: MAILMOAT_TEST_SOAK=1")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("entries", [20_000, 1_000_000])
def test_a_change_is_seen_soon(server, tmp_path, entries):
    """How long changes take from the source to RCPT, with so many other entries; prints it. The last of ten is one that was just compiled for."""
    base = sqlite3.connect(tmp_path / "source.db")
    base.execute("CREATE TABLE recipient(id INTEGER PRIMARY KEY, address TEXT, changed INTEGER)")
    base.executemany(
        "INSERT INTO recipient VALUES(?, ?, 1)", ((number, f"user{number}@example.test") for number in range(entries))
    )
    base.commit()
    row = {
        "name": "office",
        "url": f"sqlite://{tmp_path}/source.db",
        "query": "SELECT id, address, changed FROM recipient",
        "changes_query": "SELECT id, address, changed FROM recipient WHERE changed > :since",
        "changes_overlap": "0",
        "interval": "0.2s",
    }
    begun = time.monotonic()
    mx = server(**rows(row))
    mx.until(lambda: code(mx, f"user{entries - 1}@example.test") == 250, 600, what="the first read")
    print(f"{entries} entries: first read and start {time.monotonic() - begun:.1f} s")
    times = []
    for number in range(10):
        base.execute(
            "INSERT INTO recipient VALUES(?, ?, ?)", (entries + number, f"new{number}@example.test", 2 + number)
        )
        base.commit()
        begun = time.monotonic()
        mx.until(lambda number=number: code(mx, f"new{number}@example.test") == 250, 600, what="the change")
        times.append(time.monotonic() - begun)
    base.close()
    print(f"{entries} entries: from a change to RCPT median {sorted(times)[5]:.2f} s, longest {max(times):.2f} s")


def test_the_commands_show_what_is_known(server, source):
    source.says("ann@example.test", "@all.example.test", "!bob@example.test", "no good")
    mx = server(**rows(source.row(interval="1h", whole_domains=True)))
    mx.until(lambda: code(mx, "ann@example.test") == 250, what="the first read")

    tried = mx.cli("check-config").stdout
    assert f"office: {source.script}, 3 entries, such as line 1 with ann@example.test" in tried
    assert "warning: directories, office: 1 lines are no entries; line 4: no good is no address" in tried

    shown = mx.cli("directory", "status", check=True).stdout
    assert shown.startswith("office: current, 3 entries, 1 left out, read ")
    checked = mx.cli("recipients", "check", "ann@example.test", "x@all.example.test", "eve@example.test").stdout
    first, second, third = checked.splitlines()
    assert first.startswith("ann@example.test: exists (listed on entry 1 of office; the entry is line 1; read ")
    assert "entry 2 of office; the entry is line 2; read " in second
    assert third.startswith("eve@example.test: absent (neither it nor its domain is listed; office was read ")
    assert mx.cli("directory", "export", "office", check=True).stdout.splitlines() == [
        "ann@example.test",
        "@all.example.test",
        "!bob@example.test",
    ]
    decided, office = mx.cli("directory", "lookup", "Ann+x@example.test", check=True).stdout.splitlines()
    assert decided.startswith("Ann+x@example.test: exists (as Ann@example.test, listed on entry 1 of office; the entry")
    assert office.startswith(
        "  office: exists (as Ann@example.test, listed on entry 1 of office; the entry is line 1; "
    )
    absent = json.loads(mx.cli("directory", "lookup", "bob@example.test", "--json").stdout)
    [alone] = absent.pop("sources")
    assert min(absent.pop("age"), alone.pop("age")) >= 0
    for answer in (absent, alone):
        assert answer.pop("why").startswith(
            "bob@example.test: absent (excluded on entry 3 of office; the entry is line 3; "
        )
    assert alone == {"source": "office", "answer": "absent", "entry": "line 3", "targets": []}
    assert absent == {"address": "bob@example.test", **alone}

    assert "0 differences" in mx.cli("directory", "diff", "office", check=True).stdout
    source.says("ann@example.test", "eve@example.test")
    found = mx.cli("directory", "diff", "office")
    assert (found.returncode, found.stdout.splitlines()) == (
        1,
        [
            "- line 2: @all.example.test",
            "- line 3: !bob@example.test",
            "+ line 2: eve@example.test",
            "2 entries, 0 left out, 3 differences.",
        ],
    )
    source.says(status=1)
    assert "warning: directories, office: " in mx.cli("check-config").stdout
    assert mx.cli("directory", "diff", "office").returncode == 1
    assert (
        mx.cli("directory", "diff", "other").stderr
        == "mailmoat: other: no source of this name is synchronised; those are office\n"
    )
    assert (
        mx.cli("directory", "sync", "other").stderr
        == "mailmoat: other: no source of this name is synchronised; those are office\n"
    )


def test_what_a_row_may_not_list_counts_nowhere_and_is_shown(server, source):
    source.says(
        "ann@example.test = eve@far.test", "@example.test", "bob@far.test", "cid@example.test = ann@example.test"
    )
    mx = server(**rows(source.row(interval="1h")))
    mx.until(lambda: code(mx, "nobody@example.test") == 550, what="the first read")
    assert (code(mx, "ann@example.test"), code(mx, "cid@example.test")) == (250, 250)
    (redirected,) = mx.until(lambda: mx.logged("recipient-redirected"), what="the alias in the log")
    assert redirected["to"] == ["ann@example.test"]
    where = "far.test is neither a domain of this server nor in target_domains"
    refused = [
        f"ann@example.test has the target eve@far.test, which is not used, as {where} (line 1)",
        "@example.test stands for a whole domain, which counts only with whole_domains = true (line 2)",
        "bob@far.test: far.test is not in relay.local_domains (line 3)",
    ]
    assert [line["detail"] for line in mx.logged("directory-left-out")] == refused
    status = mx.cli("directory", "status", check=True).stdout.splitlines()
    assert status[0].startswith("office: current, 2 entries, 3 left out, read ")
    assert status[1:] == [f"  left out: {sentence}" for sentence in refused]
    diff = mx.cli("directory", "diff", "office", check=True).stdout.splitlines()
    assert diff == [
        *(f"1 left out, such as: {sentence}" for sentence in refused),
        "2 entries, 3 left out, 0 differences.",
    ]
    looked = mx.cli("directory", "lookup", "ann@example.test", check=True).stdout
    assert refused[0] in looked
    tried = mx.cli("check-config").stdout
    assert f"warning: directories, office: {refused[0]}" in tried
    assert f"warning: directories, office: {refused[1]}" in tried


def test_a_source_is_shown_only_for_its_domains(server, source):
    mx = server(
        **rows(source.row(interval="1h", domains="example.test"), source.row(name="plant", domains="plant.test")),
        MAILMOAT_RELAY__LOCAL_DOMAINS="example.test,plant.test",
    )
    mx.until(lambda: code(mx, "ann@example.test") == 250, what="the first read")
    mx.until(lambda: code(mx, "eve@example.test") == 550, what="both tables")
    _, office, plant = mx.cli("directory", "lookup", "ann@example.test", check=True).stdout.splitlines()
    assert office.startswith("  office: exists (listed on entry 1 of office; the entry is line 1; read ")
    assert plant == "  plant: elsewhere (example.test is not in the domains of this source)"
    absent = mx.cli("recipients", "check", "eve@example.test").stdout
    assert "office was read" in absent
    assert "plant" not in absent

    warned = mx.cli("check-config").stdout
    assert (
        "warning: directories, plant: none of the addresses that are shown, such as ann@example.test, is at one of"
        in warned
    )
    assert "warning: directories, office: none" not in warned


def test_a_table_that_somebody_removes_is_read_anew(server, source):
    mx = server(**rows(source.row(interval="1h")))
    mx.until(lambda: code(mx, "ann@example.test") == 250, what="the first read")
    for file in (mx.directory / "spool/directory").glob("office.db*"):
        file.unlink()
    mx.until(lambda: len(mx.logged("directory-read")) == 2, what="another read")
    mx.until(lambda: code(mx, "ann@example.test") == 250, what="what it read")
    assert code(mx, "eve@example.test") == 550


@pytest.mark.parametrize(
    "lose", [Path.unlink, lambda file: file.write_bytes(b"no database" * 1000)], ids=["removed", "damaged"]
)
def test_who_is_known_stays_so_until_a_table_that_is_lost_is_read_anew(server, source, tmp_path, lose):
    (tmp_path / "b").mkdir()
    other = Source(tmp_path / "b")
    mx = server(**rows(source.row(), other.row("plant")))
    mx.until(lambda: code(mx, "eve@example.test") == 550, what="the first read in force")
    pid = pid_of(mx)
    source.says(status=1)
    os.kill(pid, signal.SIGSTOP)
    for file in (mx.directory / "spool/directory").glob("office.db*"):
        lose(file)
    os.kill(pid, signal.SIGKILL)
    mx.until(lambda: code(mx, "eve@example.test") == 451, what="the table that has nothing yet")
    with Steady(lambda: code(mx, "ann@example.test"), 0.005) as asking:
        other.says("plant@example.test", "zoe@example.test")
        mx.until(lambda: code(mx, "zoe@example.test") == 250, what="a change of another source")
        mx.until(lambda: asking.results.total() >= 100, what="some replies")
        source.says("ann@example.test", "new@example.test")
        mx.until(lambda: code(mx, "new@example.test") == 250, what="the first read of the new table")
    assert set(asking.results) == {250}, asking.results


def test_the_status_names_a_source_that_fails_and_why(server, source):
    mx = server(**rows(source.row(), {"name": "plant", "url": "file:///nowhere"}))
    mx.until(lambda: code(mx, "ann@example.test") == 250, what="the first read")

    def failing():
        return {one["name"]: one["error"] for one in json.loads(mx.cli("status", "--json").stdout)["failing_sources"]}

    plant = mx.until(lambda: failing().get("plant"), what="the source that is not there")
    assert plant.startswith("/nowhere is not there")
    assert plant.endswith("; not in force, because it was not read whole yet")
    assert "office" not in failing()
    source.says(status=1)
    mx.until(lambda: "office" in failing(), what="the failure of the other")
    shown = mx.cli("status").stdout.splitlines()
    assert shown[1:3] == [f"source    {name}: {error}" for name, error in failing().items()]
    assert shown[1].startswith("source    office: ")


def test_a_table_that_cannot_be_opened_stops_no_other_source(server, source, tmp_path):
    (tmp_path / "b").mkdir()
    other = Source(tmp_path / "b")
    mx = server(**rows(source.row(), other.row("plant")))
    mx.until(lambda: code(mx, "eve@example.test") == 550, what="both to be in force")
    pid = pid_of(mx)
    tables = mx.directory / "spool/directory"
    os.kill(pid, signal.SIGSTOP)
    for file in tables.glob("office.db*"):
        file.unlink()
    (tables / "office.db").mkdir()
    os.kill(pid, signal.SIGKILL)
    mx.until(lambda: mx.logged("directory-source-failed"), what="the table that cannot be opened")
    other.says("ann@example.test", "dan@example.test", "eve@example.test")
    mx.until(
        lambda: freshness.read(freshness_path(mx.directory / "spool")).of("plant").entries == 3, what="the other one"
    )
    assert not mx.logged("process-failed")
    assert code(mx, "ann@example.test") == 250
    assert "unable to open" in mx.cli("directory", "status").stdout
    (tables / "office.db").rmdir()
    mx.until(lambda: code(mx, "eve@example.test") == 250, what="the table that can be opened again")
    mx.until(lambda: known(mx).state is freshness.SyncState.CURRENT, what="that source in force")
