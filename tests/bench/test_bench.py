"""The benchmarks run and leave results. How fast is not asked here: a busy machine would answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest
from loadtest import micro
from loadtest.report import ratios
from tests.needs import find_peer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def measured():
    return micro.measure(3)


@pytest.mark.parametrize("part", micro.BENCHES)
def test_a_part_is_measured_beside_its_yardstick(measured, part):
    found = ratios(measured[part]["yardstick_ns"], measured[part]["ns"])
    assert len(found) == 3
    assert median(found) > 0


def test_the_comparison_runs_and_leaves_its_results(tmp_path):
    find_peer("smtp-source")
    target, text = tmp_path / "bench.json", tmp_path / "performance.md"
    command = ["--messages", "60", "--cases", "reused,pipelined,relay,flood", "--peers", "mailmoat", "--out", target]
    done = subprocess.run(
        [sys.executable, "-m", "loadtest.compare", *map(str, command), "--publish", str(text)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "python"), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cases = json.loads(target.read_text())["cases"]
    for case in cases.values():
        [sample] = case["samples"]["mailmoat"]
        assert sample["cpu_us"] > 0
        assert sample["per_second"] > 0
    assert cases["reused"]["title"] in text.read_text()
