"""The lists through a real server: in force on all workers, over a restart and a kill, and what fail2ban makes of the log."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.integration.conftest import replace, wait_for
from tests.needs import find_peer

from mailmoat._native import list_time_text

ROOT = Path(__file__).parents[2]
WORKERS = 4


@pytest.fixture
def made(server):
    """A server of four workers without a client on a list; its clients come from addresses in 127.0.0.0/8."""
    return server(MAILMOAT_WORKERS=str(WORKERS))


def run(server, *arguments, **options):
    """Run a command of the server's settings."""
    command = [sys.executable, "-m", "mailmoat", *arguments]
    return subprocess.run(command, env=server.environment, capture_output=True, text=True, check=True, **options).stdout


def reply(server, address="127.0.0.1", recipient="alice"):
    """What a recipient of ours gets from a client at this address, by whatever worker."""
    with server.client(bind=address) as client:
        client.expect("MAIL FROM:<a@client.test>", 250)
        return client.ask(f"RCPT TO:<{recipient}@example.test>")


def by_all_workers(server, code, address="127.0.0.1", tries=8 * WORKERS):
    """Whether so many connections, which the kernel spreads over the workers, all get this code."""
    return all(reply(server, address).code == code for _ in range(tries))


def test_a_change_is_in_force_on_all_workers_within_a_second(made):
    assert by_all_workers(made, 250)
    run(made, "block", "add", "127.0.0.0/24", "--reason", "guesses addresses")
    since = time.monotonic()
    wait_for(lambda: by_all_workers(made, 550), what="blocked everywhere")
    print(f"blocked everywhere after {time.monotonic() - since:.2f} s")
    assert reply(made, "127.0.1.1").code == 250
    refused = reply(made)
    assert refused == "550 5.7.1 Client [127.0.0.1] is blocked"
    line = made.logged("recipient-refused")[-1]
    assert (line["reason"], line["client"], line["recipient"]) == ("blocked-client", "127.0.0.1", "alice@example.test")
    assert line["detail"] == "127.0.0.0/24 in block: guesses addresses"
    run(made, "allow", "add", "127.0.0.1")
    wait_for(lambda: by_all_workers(made, 250), what="allowed everywhere")
    assert reply(made, "127.0.0.2").code == 550
    run(made, "block", "remove", "127.0.0.0/24")
    wait_for(lambda: by_all_workers(made, 250, "127.0.0.2"), what="not blocked any more")
    wait_for(lambda: "lists     0 blocked, 1 allowed; current" in run(made, "status"), what="status")


def test_an_entry_ends_on_time_without_anybody_s_help(made):
    end = int(time.time()) + 15
    run(made, "block", "add", "127.0.0.1", "--until", list_time_text(end))
    wait_for(lambda: by_all_workers(made, 550) or time.time() > end, what="blocked")
    time.sleep(max(0.0, end - 2 - time.time()))  # only about the end it matters
    refused = 0
    while (before := time.time()) < end + 1:
        code = reply(made).code
        assert (code == 550 and before < end) or (code == 250 and time.time() >= end), (code, before - end)
        refused += code == 550
    print(f"{refused} refused before the end of the entry, none {time.time() - end:.2f} s after it")


def test_lists_outlive_a_restart_and_a_command_that_is_killed(made, tmp_path):
    run(made, "block", "add", "127.0.0.1")
    (tmp_path / "many").write_text("".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}\n" for n in range(100_000)))
    for wait in (0.3, 0.5, 0.7, 0.9):
        command = [sys.executable, "-m", "mailmoat", "block", "import", "many"]
        with subprocess.Popen(command, env=made.environment, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
            time.sleep(wait)
            process.kill()
        entries = int(run(made, "block", "list").count("\n"))
        assert entries in (1, 100_001)
    made.stop()
    made.start()
    wait_for(lambda: by_all_workers(made, 550), what="blocked after the restart")
    run(made, "block", "import", "many", "--replace", cwd=tmp_path)
    wait_for(lambda: by_all_workers(made, 250), what="not blocked any more")
    assert not [path for path in (tmp_path / "spool" / "lists").iterdir() if path.name.startswith("block.")]


def test_a_file_of_the_settings_is_watched_and_half_of_it_is_never_in_force(server, tmp_path):
    listed = tmp_path / "bad.txt"
    listed.write_text("127.0.0.1 # of the file\n")
    made = server(MAILMOAT_WORKERS="2", MAILMOAT_LISTS__BLOCK_FILES=str(listed))
    assert by_all_workers(made, 550)
    replace(listed, "127.0.0.1\n127.0.0.2\n127.0.0.300\n")
    (refused,) = wait_for(lambda: made.logged("lists-refused"), what="alarm")
    assert refused["detail"].startswith(f'lists.block_files: {listed}: line 3: "127.0.0.300"')
    wait_for(lambda: made.health()["lists"]["state"] == "refused", what="health")
    health = made.health()
    assert health["status"] == "degraded"
    assert "a file of the lists refused, what it said before is in force" in health["reasons"]
    assert by_all_workers(made, 550)
    assert by_all_workers(made, 250, "127.0.0.2")
    run(made, "block", "add", "127.0.0.3")
    wait_for(lambda: by_all_workers(made, 550, "127.0.0.3"), what="a command's entry beside it")
    replace(listed, "127.0.0.2\n")
    wait_for(lambda: by_all_workers(made, 250) and by_all_workers(made, 550, "127.0.0.2"), what="the fixed file")
    wait_for(lambda: made.health()["lists"]["state"] == "current", what="health")


def test_fail2ban_takes_the_filter_of_the_manual(made, tmp_path):
    fail2ban = find_peer("fail2ban-regex")
    run(made, "block", "add", "127.0.0.0/24")
    wait_for(lambda: by_all_workers(made, 550, tries=WORKERS), what="blocked")
    reply(made, "127.0.1.9", "nobody")
    manual = (ROOT / "docs" / "manual.md").read_text()
    (tmp_path / "mailmoat.conf").write_text(re.search(r"```ini\n(\[Definition\]\n.*?)```", manual, re.DOTALL)[1])
    log = tmp_path / "for-fail2ban.log"
    lines = [line for line in made.log.read_text().splitlines() if '"recipient-refused"' in line]
    log.write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [fail2ban, "--print-all-matched", str(log), str(tmp_path / "mailmoat.conf")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    assert f"Lines: {len(lines)} lines, 0 ignored, {len(lines)} matched, 0 missed" in done.stdout, done.stdout
