"""The files of the lists: changed whole or not at all, one change at a time, compiled when they are at rest."""

import json
import os
import subprocess
import sys
import time

import pytest

from mailmoat import clock
from mailmoat.errors import ConfigError
from mailmoat.lists import reading, store
from mailmoat.lists.compiler import Keeper, compile_sources
from mailmoat.lists.lists import Lists
from mailmoat.lists.sources import ListName, snapshot
from mailmoat.settings import load


@pytest.fixture
def settings(tmp_path):
    """Settings with one file of blocked clients, which is there, and one of allowed ones."""
    (tmp_path / "spool").mkdir()
    (tmp_path / "bad.txt").write_text("198.51.100.0/24 # of the file\n")
    (tmp_path / "good.txt").write_text("203.0.113.0/24\n")
    environment = {
        "MAILMOAT_SPOOL_DIR": str(tmp_path / "spool"),
        "MAILMOAT_LISTS__BLOCK_FILES": str(tmp_path / "bad.txt"),
        "MAILMOAT_LISTS__ALLOW_FILES": str(tmp_path / "good.txt"),
    }
    return load(environment=environment)


def unexpected():
    pytest.fail("nobody else has the lock")


def add(settings, *prefixes, name=ListName.BLOCK, until=0):
    return store.change(
        settings, name, lambda entries: [entries.add(each, 1, until, "why") for each in prefixes], unexpected
    )


def compile_all(settings):
    """As the server does."""
    keeper = Keeper(settings)
    with store.locked(settings, unexpected):
        return compile_sources(keeper.target, [(each.source, not each.waits_for) for each in keeper.look()])


def test_a_change_is_on_disk_and_in_force(settings):
    new, report = add(settings, "192.0.2.1", "2001:db8::/32")
    assert new == [True, True]
    assert (report.blocked, report.allowed, report.problems, report.changed) == (2, 0, (), True)
    lines = (settings.spool_dir / "lists" / "block").read_text().splitlines()
    assert lines[0].startswith("# Clients that are refused.")
    assert lines[1:] == ["192.0.2.1 since=1970-01-01T00:00:01Z # why", "2001:db8::/32 since=1970-01-01T00:00:01Z # why"]
    assert Lists(snapshot(settings)).find("2001:db8::5").reason == "why"
    assert (settings.spool_dir / "lists" / "block").stat().st_mode & 0o777 == 0o600
    assert snapshot(settings).stat().st_mode & 0o777 == 0o600
    assert (settings.spool_dir / "lists").stat().st_mode & 0o777 == 0o700
    assert not add(settings, "192.0.2.1")[1].changed


def test_a_change_removes_what_has_ended_and_what_was_left_of_a_change_that_was_killed(settings):
    add(settings, "192.0.2.1", until=clock.wall_ms() // 1000 - 1)
    (settings.spool_dir / "lists" / "block.k1ll3d").write_text("half")
    add(settings, "192.0.2.2")
    assert [line.split()[0] for line in (settings.spool_dir / "lists" / "block").read_text().splitlines()[1:]] == [
        "192.0.2.2"
    ]
    assert not (settings.spool_dir / "lists" / "block.k1ll3d").exists()


def test_a_change_takes_no_file_of_the_administrator_that_the_server_has_not_taken(settings, tmp_path):
    add(settings, "192.0.2.1")
    lists = Lists(snapshot(settings))
    assert lists.find("198.51.100.1") is None
    assert Keeper(settings).due(Keeper(settings).look())
    compile_all(settings)
    assert not Keeper(settings).due(Keeper(settings).look())
    (tmp_path / "bad.txt").write_text("")
    add(settings, "192.0.2.2")
    lists.refresh()
    assert lists.find("198.51.100.1").reason == "of the file"
    assert lists.find("203.0.113.1").allows


def test_a_list_with_a_mistake_is_not_changed(settings):
    add(settings, "192.0.2.1")
    ours = settings.spool_dir / "lists" / "block"
    ours.write_text("192.0.2.1\nspam\n")
    with pytest.raises(ConfigError) as refused:
        add(settings, "192.0.2.2")
    assert refused.value.mistakes[0].startswith(f'{ours}: line 2: "spam"')
    assert ours.read_text() == "192.0.2.1\nspam\n"


def test_without_a_spool_directory_nothing_is_made(settings):
    settings.spool_dir.rmdir()
    with pytest.raises(FileNotFoundError) as failed:
        add(settings, "192.0.2.1")
    assert failed.value.filename == str(settings.spool_dir)


def test_a_file_with_a_mistake_keeps_what_it_said_and_is_named(settings, tmp_path):
    compile_all(settings)
    (tmp_path / "bad.txt").write_text("198.51.100.0/24\n198.51.100.0/33\n")
    os.utime(tmp_path / "bad.txt", (1, 1))
    (problem,) = compile_all(settings).problems
    assert problem.startswith(f"lists.block_files: {tmp_path / 'bad.txt'}: line 2: ")
    assert Lists(snapshot(settings)).find("198.51.100.1").reason == "of the file"
    assert Keeper(settings).due(Keeper(settings).look())
    with pytest.raises(ConfigError, match="line 2"):
        reading.examine(settings)
    (tmp_path / "bad.txt").unlink()
    (problem,) = compile_all(settings).problems
    assert problem.endswith("it cannot be read: No such file or directory")
    assert Lists(snapshot(settings)).find("198.51.100.1")


@pytest.mark.parametrize("name", ["block", "allow"])
def test_a_file_with_a_prefix_for_half_the_world_keeps_what_it_said_and_is_named(settings, tmp_path, name):
    add(settings, "2000::/3")
    compile_all(settings)
    file = tmp_path / ("bad.txt" if name == "block" else "good.txt")
    file.write_text("198.51.100.0/24\n0.0.0.0/0\n")
    os.utime(file, (1, 1))
    (problem,) = compile_all(settings).problems
    assert problem == (
        f'lists.{name}_files: {file}: line 2: "0.0.0.0/0": it is wider than /8. '
        f"If it is meant, use mailmoat {name} add --wide"
    )
    in_force = Lists(snapshot(settings))
    assert in_force.find("192.0.2.1") is None
    assert in_force.find("198.51.100.1").reason == "of the file"
    assert in_force.find("203.0.113.1").allows
    assert in_force.find("2001:db8::1").prefix == "2000::/3", "the command was asked"


def test_a_file_that_is_missing_from_the_beginning_is_a_problem(settings, tmp_path):
    (tmp_path / "bad.txt").unlink()
    assert compile_all(settings).problems
    assert Keeper(settings).due(Keeper(settings).look())


def test_a_file_that_may_be_unfinished_waits(settings, tmp_path):
    (tmp_path / "bad.txt").write_text("".join(f"198.51.100.{n}\n" for n in range(100)))
    compile_all(settings)
    (tmp_path / "bad.txt").write_text("198.51.100.7\n")
    keeper = Keeper(settings)
    looked = keeper.look()
    assert [each.waits_for for each in looked if each.waits_for] == ["it shrank from 1390 to 13 octets"]
    assert not keeper.due(looked)
    add(settings, "192.0.2.1")
    assert Lists(snapshot(settings)).find("198.51.100.99")


def test_a_list_is_read_beside_a_server_and_without_one(settings):
    assert [entry.prefix for entry in reading.open_lists(settings).select(False, 1, None)] == ["198.51.100.0/24"]
    assert not snapshot(settings).exists()
    add(settings, "192.0.2.1")
    compile_all(settings)
    prefixes = [entry.prefix for entry in reading.open_lists(settings).select(False, 1, None)]
    assert prefixes == ["192.0.2.1", "198.51.100.0/24"]


def test_a_damaged_snapshot_is_compiled_again(settings):
    compile_all(settings)
    octets = bytearray(snapshot(settings).read_bytes())
    octets[len(octets) // 2] ^= 1
    snapshot(settings).write_bytes(octets)
    assert Keeper(settings).due(Keeper(settings).look())
    assert compile_all(settings).changed
    assert Lists(snapshot(settings)).find("198.51.100.1")


HOLDER = """
import sys
from mailmoat.lists import store
from mailmoat.settings import load
with store.locked(load(), lambda: None):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_second_change_waits_and_says_so(settings):
    environment = {**os.environ, "MAILMOAT_SPOOL_DIR": str(settings.spool_dir)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as holder:
        assert holder.stdout.readline() == b"locked\n"
        waited = []

        def on_wait():
            waited.append(True)
            holder.stdin.close()

        store.change(settings, ListName.ALLOW, lambda entries: entries.add("192.0.2.1", 0, 0, ""), on_wait)
    assert waited == [True]


@pytest.mark.usefixtures("root")
def test_what_root_makes_is_the_server_account_s(settings):
    os.chown(settings.spool_dir, 65534, 65534)
    add(settings, "192.0.2.1")
    add(settings, "192.0.2.2")
    made = settings.spool_dir / "lists"
    assert {path.name: path.stat().st_uid for path in [made, *made.iterdir()]} == dict.fromkeys(
        ["lists", "block", "lists.snapshot", "lock"], 65534
    )


WRITER = """
import json, sys
from mailmoat.lists import store
from mailmoat.lists.sources import ListName
from mailmoat.settings import load
settings, mine = load(), json.loads(sys.argv[1])
for prefix in mine:
    store.change(settings, ListName.BLOCK, lambda entries: entries.add(prefix, 0, 0, ""), lambda: None)
"""


def test_of_changes_by_eight_processes_none_is_lost(settings):
    wanted = [[f"10.{process}.0.{n}" for n in range(25)] for process in range(8)]
    environment = {**os.environ, "MAILMOAT_SPOOL_DIR": str(settings.spool_dir)}
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, json.dumps(mine)], env=environment) for mine in wanted]
    assert [process.wait(120) for process in processes] == [0] * 8
    lists = Lists(snapshot(settings))
    assert lists.entries == (200, 0)
    assert all(lists.find(prefix) for mine in wanted for prefix in mine)


def test_a_change_that_is_killed_at_any_moment_leaves_the_old_list_or_the_new_one(settings):
    old, new = [f"10.0.0.{n}" for n in range(200)], [f"10.1.{n // 250}.{n % 250}" for n in range(20_000)]
    environment = {**os.environ, "MAILMOAT_SPOOL_DIR": str(settings.spool_dir)}
    code = WRITER.replace("for prefix in mine:", "if True:").replace(
        'entries.add(prefix, 0, 0, "")',
        '([entries.remove(p[0]) for p in entries.entries()], [entries.add(p, 0, 0, "") for p in mine])',
    )
    seen = set()
    for wait in (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2):
        (settings.spool_dir / "lists").mkdir(exist_ok=True)
        (settings.spool_dir / "lists" / "block").write_text("\n".join(old))
        with subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"{code}".replace("settings, mine", "print(flush=True); settings, mine"),
                json.dumps(new[:5000]),
            ],
            env=environment,
            stdout=subprocess.PIPE,
        ) as process:
            process.stdout.readline()
            time.sleep(wait)
            process.kill()
        entries = store._read(settings.spool_dir, (settings.spool_dir / "lists" / "block").read_bytes())
        seen.add(len(entries))
        add(settings, "192.0.2.1")
        assert len(Lists(snapshot(settings)).entries) == 2
    assert seen <= {200, 5000}
