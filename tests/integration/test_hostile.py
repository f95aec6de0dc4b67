"""Good mail goes on among hostile clients of many kinds at once, and nothing of them is left.

The rate of good mail is compared with that of the same clients at the same server before, so the machine's speed does not matter. The hostile
clients take only the processor time that others leave, and each good message goes to a server that does nothing as well: what it takes there is the
machine's time, `beside` in the output. `MAILMOAT_TEST_SOAK=1` does it twice with 20,000 connections, and holds the times beyond the machine's own, and the
memory after the second flood to that after the first.
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
CROWDS, EACH, PAUSE, SECONDS, RATE, FLOODS = (2, 10_000, 60, 60, 50, 2) if SOAK else (1, 600, 2, 6, 20, 1)
SLACK = 2 << 20
"""Octets: a few messages in the queue."""


def command(module: str, port: int, **options: float) -> list[str]:
    pairs = (f"--{name}={value}" for name, value in options.items())
    return [sys.executable, "-m", module, f"--port={port}", *pairs]


def good_mail(port: int, beside: int) -> dict:
    """What became of good mail at a steady rate, and of the same at a server that does nothing."""
    run = subprocess.run(
        command("loadtest.steady", port, rate=RATE, seconds=SECONDS / 3, beside=beside),
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


@pytest.fixture
def nothing(processes):
    """The port of a server that does nothing."""
    process = subprocess.Popen([sys.executable, "-m", "loadtest.nothing"], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    processes.append(process)
    return int(process.stdout.readline())


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
def test_good_mail_among_hostile_clients(server, processes, nothing, capsys):
    mx = server(MAILMOAT_WORKERS="2", MAILMOAT_LIMITS__CONNECTIONS_PER_SOURCE="100", MAILMOAT_LOG__LEVEL="warning")
    tree = Tree(mx.process.pid)
    before = good_mail(mx.port, nothing)
    assert before["wrong"] == before["beside"]["wrong"] == {}
    end([begin_crowd(mx.port, 0, EACH // 20, processes)])  # what the code itself takes when it is first used
    left = [memory(tree)]
    among = []
    for _ in range(FLOODS):
        crowds = [begin_crowd(mx.port, number * EACH // 50, EACH, processes) for number in range(CROWDS)]
        connections = mx.metric("connections")
        among.append(good_mail(mx.port, nothing))
        attacked = tree.memory().pss
        found = end(crowds)
        mx.until(lambda: mx.metric("connections") == 0, what="the end of all connections")
        left.append(memory(tree))
        if SOAK:
            with capsys.disabled():
                print(
                    f"\n{connections:.0f} connections, KiB {left[-2] >> 10}, {attacked >> 10} among them, {left[-1] >> 10} after"
                )
                print(f"before {before}\namong {among[-1]}\n{json.dumps(found)}")
    assert min(one["accepted"] for one in among) >= 0.8 * before["accepted"], among
    assert left[-1] < 1.1 * left[-2] + SLACK, left
    assert mx.logged("session-failed") == mx.logged("loop-failed") == []
    if SOAK:
        assert max(one["p99"] - one["beside"]["p99"] for one in among) < 250
