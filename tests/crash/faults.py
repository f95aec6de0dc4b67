"""Faults put into a running process."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Self

from tests.integration.conftest import wait_for
from tests.needs import find_peer, missing


class Injection:
    """strace, attached to a process, that makes its system calls fail or kills it at one."""

    def __init__(self, pid: int, calls: str, what: str, *, follow_forks: bool = True) -> None:
        program = find_peer("strace")
        options = ["-f"] if follow_forks else []
        self.process = subprocess.Popen(
            [
                program,
                *options,
                "-qqq",
                "-o",
                "/dev/null",
                "-e",
                f"trace={calls}",
                "-e",
                f"inject={calls}:{what}",
                "-p",
                str(pid),
            ],
            stderr=subprocess.PIPE,
        )
        wait_for(lambda: self.process.poll() is not None or _traced(pid), what="strace")
        if self.process.poll() is not None:
            error = self.process.stderr.read().decode()
            if _exists(pid) and "permitted" in error:
                missing(f"allow ptrace: {error.strip()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.process.terminate()
        try:
            self.process.communicate(timeout=1)
        except subprocess.TimeoutExpired:
            # Seen with a process whose threads were killed one by one: the kernel detaches what is left of it.
            self.process.kill()
            self.process.communicate()


def _traced(pid: int) -> bool:
    """Every thread is attached, or the process is gone."""
    try:
        statuses = [task.joinpath("status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return True
    return not any("TracerPid:\t0" in status for status in statuses)


def _exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
