"""A program as a source: its output counts when it ended well, in time, and with its whole process group gone."""

import asyncio
import os
from pathlib import Path

import pytest
import uvloop

from mailmoat._native import Address
from mailmoat.directory.directory import Presence
from mailmoat.directory.opening import open_live, open_sync
from mailmoat.directory.source import Begin, Part, Whole
from mailmoat.errors import SourceError
from mailmoat.settings import Settings
from mailmoat.settings.sections.directories import merged


@pytest.fixture
def row(tmp_path):
    def make(script, **given):
        path = tmp_path / "script"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        tree = Settings(hostname="mx.test", directories=[{"name": "a", "url": f"script://{path}", **given}])
        return merged(tree.directory, tree.directories[0])

    return make


def run(coroutine):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)


def steps(row):
    async def read():
        return [step async for step in open_sync(row).steps(None, ())]

    return run(read())


def lookup(row, address="ann@a.test"):
    return run(open_live(row).lookup(Address.parse(address)))


def alive(pid):
    """Whether a process runs; one that ended may be there until somebody reaps it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_its_output_is_a_full_read(row):
    begin, part, whole = steps(row("echo ann@a.test; echo 'bob@a.test # Bob'"))
    assert (begin, whole) == (Begin(), Whole())
    assert isinstance(part, Part)
    assert [entry.addresses[0].text for entry in part.entries] == ["ann@a.test", "bob@a.test"]


@pytest.mark.parametrize(
    ("script", "settings", "reason"),
    [
        ("echo ann@a.test; echo 'no such base' >&2; exit 3", {}, "ended with exit status 3: no such base"),
        ("echo ann@a.test; kill -9 $$", {}, "was killed by SIGKILL"),
        ("exit 0", {}, "wrote no entry"),
        ("echo '# nobody'", {}, "wrote no entry"),
        ("echo ann@a.test; sleep 600", {"script_time": "0.2s"}, "took longer than 0.2 s"),
        ("exec >&-; sleep 600", {"script_time": "0.2s"}, "took longer than 0.2 s"),
        ("while :; do echo ann@a.test; done", {"script_size": "100KiB"}, "wrote more than 102400 octets"),
    ],
)
def test_what_does_not_end_well_is_an_outage(row, script, settings, reason):
    with pytest.raises(SourceError, match=reason):
        steps(row(script, **settings))


def test_one_that_is_not_there_is_an_outage(row):
    source = row("")
    Path(source.url.path).unlink()
    with pytest.raises(SourceError, match="cannot be run: No such file"):
        steps(source)


def test_what_it_started_ends_with_it(row, tmp_path):
    source = row(f"sleep 600 & echo $! > {tmp_path}/pid; sleep 600", script_time="0.5s")
    with pytest.raises(SourceError, match="took longer"):
        steps(source)
    pid = int((tmp_path / "pid").read_text())
    while alive(pid):
        os.sched_yield()


def test_it_gets_nothing_of_our_environment(row, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    [_, part, _] = steps(row('echo "a$SECRET@a.test"'))
    assert part.entries[0].id == b"a@a.test"


@pytest.mark.parametrize(
    ("script", "presence", "targets"),
    [
        ('test "$1" = ann@a.test', Presence.EXISTS, ()),
        ("exit 1", Presence.ABSENT, ()),
        ("echo bob@a.test; echo cid@a.test", Presence.EXISTS, ("bob@a.test", "cid@a.test")),
    ],
)
def test_as_a_live_source_it_answers_by_its_exit_status(row, script, presence, targets):
    answer = lookup(row(script, mode="live"))
    assert (answer.presence, answer.targets) == (presence, targets)


@pytest.mark.parametrize("script", ["exit 2", "kill -9 $$", "sleep 600", "yes"])
def test_any_other_end_is_an_outage(row, script):
    with pytest.raises(SourceError):
        lookup(row(script, mode="live", timeout="0.2s"))


def test_an_answer_has_room_for_all_the_targets_that_there_may_be(row):
    script = "for n in $(seq {}); do echo " + "a" * 58 + "$n@b.test; done"
    source = open_live(row(script.format(1000), mode="live"))
    found = run(source.lookup(Address.parse("all@a.test")))
    assert len(found.targets) == 1000
    with pytest.raises(SourceError, match="more than 1000 addresses"):
        run(open_live(row(script.format(1001), mode="live")).lookup(Address.parse("all@a.test")))


def test_a_probe_says_what_is_there(row):
    probed = run(open_sync(row("seq -f 'a%g@a.test' 1500; echo no good")).probe())
    assert (probed.entries, len(probed.sample)) == (1500, 3)
    assert probed.remarks == ("1 lines are no entries; line 1501: no good is no address",)


@pytest.mark.parametrize(
    "script", ["echo 'cannot connect' >&2; exit 1", "echo ann@a.test; exit 1", "python3 -c 'import nothing'"]
)
def test_a_program_that_fails_does_not_say_that_an_address_is_absent(row, script):
    """Most languages end with 1 when something goes wrong that nobody caught."""
    with pytest.raises(SourceError, match="exit status 1"):
        lookup(row(script, mode="live"))
    assert lookup(row("exit 1", mode="live")).presence is Presence.ABSENT


def test_an_address_is_never_an_option(row):
    live = row('case "$1" in -*) echo option >&2; exit 2;; esac; echo "$1"', mode="live")
    assert lookup(live, "--file=/etc/passwd@a.test").targets == ('"--file=/etc/passwd"@a.test',)
    assert lookup(live).targets == ("ann@a.test",)
