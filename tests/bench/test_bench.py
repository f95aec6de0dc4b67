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
from loadtest.compare import document
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
    done = run_comparison([*map(str, command), "--publish", str(text)])
    assert done.returncode == 0, done.stdout + done.stderr
    cases = json.loads(target.read_text())["cases"]
    for case in cases.values():
        [sample] = case["samples"]["mailmoat"]
        assert sample["cpu_us"] > 0
        assert sample["per_second"] > 0
    assert cases["reused"]["title"] in text.read_text()


def test_the_comparison_measures_tls(tmp_path):
    find_peer("openssl")
    target = tmp_path / "bench.json"
    command = ["--messages", "50", "--held", "20", "--cases", "tls", "--peers", "mailmoat", "--out", str(target)]
    done = run_comparison(command)
    assert done.returncode == 0, done.stdout + done.stderr
    samples = json.loads(target.read_text())["cases"]["tls"]["samples"]
    assert not {label: each for label, each in samples.items() if "failed" in each[0]}
    assert "idle session | 20 (20-20)" in done.stdout


def test_the_comparison_measures_lists_in_the_dns(tmp_path):
    target = tmp_path / "bench.json"
    done = run_comparison(["--messages", "20", "--cases", "dns_lists", "--peers", "mailmoat", "--out", str(target)])
    assert done.returncode == 0, done.stdout + done.stderr
    samples = json.loads(target.read_text())["cases"]["dns_lists"]["samples"]
    assert not {label: each for label, each in samples.items() if "failed" in each[0]}
    assert "one of two lists dead" in done.stdout


def test_the_text_of_the_comparison_says_which_samples_are_missing():
    costs, stays = {"cpu_us": 300.0}, {"sessions": 20, "rss_kib": 9.0, "left_share": 0.05}
    samples = {
        "mailmoat: 4 KiB, clear": [costs],
        "mailmoat: 4 KiB, TLS": [{"failed": "the client failed"}],
        "mailmoat: idle session": [{"failed": "the client failed"}],
        "mailmoat: half-open handshake": [stays],
        "postfix: 4 KiB, TLS": [costs],
        "postfix: idle session": [stays],
    }
    text = document._section("tls", {"samples": samples, "missing": {}})
    assert "| idle session | - | - | - | 20 (20-20) | 9.0 (9.0-9.0) | 0.05 (0.05-0.05) |" in text
    assert "| half-open handshake | 20 (20-20) | 9.0 (9.0-9.0) | 0.05 (0.05-0.05) | - | - | - |" in text
    assert "| 4 KiB, clear | 300 (300-300) | - | - |" in text
    assert "* mailmoat: 4 KiB, TLS, in 1 of 1 rounds: the client failed" in text


def run_comparison(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loadtest.compare", *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "python"), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
