"""What a measurement was made on: the machine, the disk, the versions, and whether something else was going on."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from loadtest.report import spread

BUSY = 0.3


def describe() -> dict[str, Any]:
    """Return what a reader needs to judge the results."""
    directory = tempfile.gettempdir()
    return {
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "cpu": _cpu(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "descriptors": os.sysconf("SC_OPEN_MAX"),
        "filesystem": _filesystem(directory),
        "fdatasync_ms": fdatasync(directory),
        "others_busy": round(others_busy(), 2),
    }


def fdatasync(directory: str, writes: int = 100) -> dict[str, float]:
    """Return the milliseconds for appending 4 KiB to a file with fdatasync."""
    times = []
    with tempfile.NamedTemporaryFile(dir=directory) as opened:
        for _ in range(writes):
            opened.write(b"x" * 4096)
            opened.flush()
            begun = time.perf_counter()
            os.fdatasync(opened.fileno())
            times.append((time.perf_counter() - begun) * 1000)
    return spread(times)


def others_busy(seconds: float = 2.0) -> float:
    """Return how many cores were busy while this program did nothing."""
    before = _busy_ticks()
    time.sleep(seconds)
    return (_busy_ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds


def _busy_ticks() -> int:
    user, nice, system, _idle, _wait, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return user + nice + system + irq + softirq


def _cpu() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    speeds = [
        float(line.partition(":")[2]) for line in Path("/proc/cpuinfo").read_text().splitlines() if "cpu MHz" in line
    ]
    return f"{names[0] if names else platform.machine()}{f', {median(speeds):,.0f} MHz' if speeds else ''}"


def _filesystem(directory: str) -> str:
    asked = subprocess.run(["stat", "-f", "-c", "%T", directory], capture_output=True, text=True, check=False)
    return asked.stdout.strip()
