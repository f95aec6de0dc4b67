"""Whether a worker died of what it did, or was killed for a reason outside of it.

A fault ends a process by a signal of its own (a broken memory access, an abort) or by an exit status. A kill by an operator, by the
supervisor or at the end of the system is none. SIGKILL comes from the kernel, too, when memory is short; then the kernel counts it.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final

FAULTS: Final = frozenset(
    {
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGSEGV,
        signal.SIGSYS,
        signal.SIGTRAP,
        signal.SIGXCPU,
        signal.SIGXFSZ,
    }
)
COUNTERS: Final = Path("/proc/vmstat")


class Deaths:
    """Judges the deaths of workers."""

    def __init__(self) -> None:
        self._short_of_memory = _kills_for_memory()

    def is_crash(self, status: int) -> bool:
        """Return whether a process that ended with this wait status died of what it did."""
        code = os.waitstatus_to_exitcode(status)
        if code != -signal.SIGKILL:
            return code > 0 or -code in FAULTS
        before, self._short_of_memory = self._short_of_memory, _kills_for_memory()
        return self._short_of_memory > before


def _kills_for_memory() -> int:
    """Return how many processes the kernel has killed because memory was short; 0 where it does not say."""
    try:
        lines = COUNTERS.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
