"""What running processes use."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path


def processor_seconds(pid: int) -> float:
    """What the process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def assert_rests(*pids: int) -> None:
    """Nobody asks for anything: together they use a small part of what one that never rests gets on this machine meanwhile."""
    with subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) as busy:
        try:
            while processor_seconds(busy.pid) < 0.1:
                time.sleep(0.01)
            everybody = (busy.pid, *pids)
            before = [processor_seconds(pid) for pid in everybody]
            while processor_seconds(busy.pid) - before[0] < 0.5:
                time.sleep(0.01)
            spent = [processor_seconds(pid) - used for pid, used in zip(everybody, before, strict=True)]
        finally:
            busy.kill()
    assert sum(spent[1:]) < spent[0] / 4, f"it spins: {spent}"
