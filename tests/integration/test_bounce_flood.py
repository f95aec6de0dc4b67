"""A flood of forged messages through a real server and a next hop that refuses their recipients: see `loadtest/ndr_flood`.

`MAILMOAT_TEST_SOAK=1` sends 100,000, and waits until the alarm has ended.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOAK = os.environ.get("MAILMOAT_TEST_SOAK") == "1"
FORM = ["--messages=100000", "--until-over"] if SOAK else ["--messages=3000"]


@pytest.mark.timeout(3600 if SOAK else 600)
def test_a_flood_keeps_to_the_budgets_and_costs_no_good_sender_a_bounce():
    run = subprocess.run(
        [sys.executable, "-m", "loadtest.ndr_flood", *FORM], capture_output=True, check=False, text=True, cwd=ROOT
    )
    assert run.returncode == 0, run.stdout + run.stderr
