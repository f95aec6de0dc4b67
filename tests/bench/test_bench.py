"""The benchmarks run, and the parts in Rust are worth having: bounds are loose, because this machine may be busy."""

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
from loadtest.servers import program

ROOT = Path(__file__).parents[2]
AT_LEAST = {"parser": 0.7, "normaliser": 20, "decoder": 1.5, "header": 5, "wheel": 2, "release": 5, "spool": 1}
"""Times faster than the yardstick; measured on a quiet machine: at least twice that."""


@pytest.fixture(scope="module")
def measured():
    return micro.measure(3)


@pytest.mark.parametrize("part", AT_LEAST)
def test_a_part_keeps_its_distance_from_the_yardstick(measured, part):
    found = ratios(measured[part]["yardstick_ns"], measured[part]["ns"])
    assert median(found) >= AT_LEAST[part]


def test_every_part_has_a_bound():
    assert set(AT_LEAST) == set(micro.BENCHES)


@pytest.mark.skipif(program("smtp-source") is None, reason="install postfix")
def test_the_comparison_runs_and_leaves_its_figures(tmp_path):
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
