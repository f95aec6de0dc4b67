"""The thread of a worker in which passwords are checked: one, because a check costs some 20 ms of a CPU and 19 MiB.

Promises: at most `most` checks wait or run; more are turned away at once. The thread has a lower priority than the loop, so that
guesses cost good mail little, also where the server itself has a realtime priority. Nothing it is given may touch what belongs to the loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

V = TypeVar("V")

NICER: Final = 10
"""Added to the nice value of the process (setpriority(2)); Linux has one for each thread."""
NICEST: Final = 19
REALTIME: Final = (os.SCHED_FIFO, os.SCHED_RR)
"""Policies under which the nice value has no effect, and a check would hold up the loops."""


class HashingThread:
    """One thread and those who wait for it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._pool = ThreadPoolExecutor(1, "hashing", _step_back)

    def run(self, work: Callable[[], V]) -> asyncio.Future[V] | None:
        """Begin `work` when it is its turn, and return its result to be awaited; None when too much waits."""
        if self._taken >= self._most:
            return None
        self._taken += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        future.add_done_callback(self._give_back)
        return future

    def close(self) -> None:
        """Take no more; what waits is still done."""
        self._most = 0
        self._pool.shutdown(wait=False)

    def _give_back(self, _future: asyncio.Future[V]) -> None:
        self._taken -= 1


def _step_back() -> None:
    with suppress(OSError):  # a sandbox may forbid it; an exception here would end the thread
        if os.sched_getscheduler(0) in REALTIME:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    with suppress(OSError):
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(nice + NICER, NICEST))
