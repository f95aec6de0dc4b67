"""Good mail goes on among hostile clients of many kinds at once, and nothing of them is left.

The rate of good mail is compared with that of the same clients at the same server before, so the machine's speed does not matter.
`MAILMOAT_TEST_SOAK=1` does it with 20,000 connections, and holds the times as well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from loadtest.processes import Tree

ROOT = Path(__file__).parents[2]
SOAK = os.environ.get("MAILMOAT_TEST_SOAK") == "1"
CROWDS, EACH, PAUSE, SECONDS, RATE = (2, 10_000, 20, 60, 50) if SOAK else (1, 600, 2, 6, 20)


def command(module: str, port: int, **options: float) -> list[str]:
    pairs = (f"--{name}={value}" for name, value in options.items())
    return [sys.executable, "-m", module, f"--port={port}", *pairs]


def good_mail(port: int) -> dict:
    """What became of good mail at a steady rate."""
    run = subprocess.run(
        command("loadtest.steady", port, rate=RATE, seconds=SECONDS / 3),
        capture_output=True,
        check=True,
        text=True,
        cwd=ROOT,
    )
    return json.loads(run.stdout)


@pytest.fixture
def processes():
    """Those to be killed if the test ends before them."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def begin_crowd(
    port: int, first: int, connections: int, processes: list[subprocess.Popen[str]]
) -> subprocess.Popen[str]:
    """A process of hostile clients, all of which are connected."""
    crowd = subprocess.Popen(
        command("loadtest.hostile", port, connections=connections, first=first, pause=PAUSE, seconds=600),
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    processes.append(crowd)
    assert crowd.stdout.readline() == "open\n"
    return crowd


def end(crowds: list[subprocess.Popen[str]]) -> list[dict]:
    """What became of them."""
    for crowd in crowds:
        crowd.terminate()
    return [json.loads(crowd.communicate()[0]) for crowd in crowds]


def memory(tree: Tree) -> int:
    """Of all processes, once what was freed is given back: a second or two later."""
    least = tree.memory().pss
    for _ in range(4):
        time.sleep(1)
        least = min(least, tree.memory().pss)
    return least


@pytest.mark.timeout(1200 if SOAK else 300)
def test_good_mail_among_hostile_clients(server, processes, capsys):
    mx = server(MAILMOAT_WORKERS="2", MAILMOAT_LIMITS__CONNECTIONS_PER_SOURCE="100", MAILMOAT_LOG__LEVEL="warning")
    tree = Tree(mx.process.pid)
    before = good_mail(mx.port)
    assert before["wrong"] == {}
    end([begin_crowd(mx.port, 0, EACH // 20, processes)])  # what the code itself takes when it is first used
    rested = memory(tree)
    crowds = [begin_crowd(mx.port, number * EACH // 50, EACH, processes) for number in range(CROWDS)]
    connections = mx.metric("connections")
    among = good_mail(mx.port)
    attacked = tree.memory().pss
    found = end(crowds)
    mx.until(lambda: mx.metric("connections") == 0, what="the end of all connections")
    left = memory(tree)
    with capsys.disabled():
        if SOAK:
            print(
                f"\nbefore {before}\namong {among}\nconnections {connections:.0f}, memory {rested >> 10} {attacked >> 10} {left >> 10} KiB"
            )
            print(json.dumps(found))
    assert among["accepted"] >= 0.8 * before["accepted"], among
    assert left < 1.1 * rested + (2 << 20), (rested, left)
    assert mx.logged("session-failed") == mx.logged("loop-failed") == []
    if SOAK:
        assert among["p99"] < 250
