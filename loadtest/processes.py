"""Processes that a measurement starts, and what they cost: CPU time and memory of a whole process tree, read from /proc.

CPU time of a tree is, over its living processes, their own time plus that of the children they have reaped, so nothing is counted
twice and nothing that ended is lost. A living process is read from schedstat (nanoseconds) where that says more than stat, which
counts in ticks of 10 ms.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TICK = 1 / os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).parents[1]
PORTS = (10_000, 30_000)


class Trouble(Exception):  # noqa: N818 - said to a person, not caught by kind
    """A measurement could not be made; the text says why."""


def growth(before: int, after: int) -> int:
    """Return by how many octets the memory grew. Less memory counts as no growth: the kernel took idle pages back."""
    return max(0, after - before)


class Memory(NamedTuple):
    """Memory of a process or a tree in octets; a page shared by n processes counts n times in `rss`, once in `pss`.

    `own` is what belongs to no file and to no shared memory: heaps and stacks.
    """

    rss: int
    pss: int
    own: int


class Tree:
    """A process and all below it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def pids(self) -> list[int]:
        """Return all living processes, parents first."""
        found = [self.pid]
        for pid in found:
            found += _children(pid)
        return found

    def cpu(self) -> float:
        """Return the seconds of user and system time used so far."""
        return sum(_cpu(pid) for pid in self.pids())

    def memory(self) -> Memory:
        """Return the memory in use now."""
        rolled = [memory_of(pid) for pid in self.pids()]
        return Memory(*(sum(kind) for kind in zip(*rolled, strict=True)))

    def settle(self, quiet: float = 0.4, limit: float = 120.0, share: float = 0.01) -> float:
        """Wait until it spends less than `share` of a core for `quiet` seconds; gives the CPU seconds before that pause.

        Raises:
            Trouble: it does not come to rest within `limit` seconds.

        """
        deadline = time.monotonic() + limit
        spent = self.cpu()
        while time.monotonic() < deadline:
            time.sleep(quiet)
            before, spent = spent, self.cpu()
            if spent - before <= quiet * share:
                return before
        raise Trouble(f"process {self.pid} did not come to rest within {limit:.0f} s")


def start(
    command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> subprocess.Popen[bytes]:
    """Start a server; what it prints goes to `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=None if environment is None else dict(environment),
            cwd=cwd,
            start_new_session=True,
        )


def stop(process: subprocess.Popen[bytes], seconds: float = 20.0) -> None:
    """End it and what is below it: SIGTERM, and SIGKILL for what is left afterwards."""
    below = Tree(process.pid).pids()[1:]
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in below:
        if _session(pid) == process.pid:  # not a stranger that was given the number since
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def end_tidily() -> None:
    """Let SIGTERM unwind this program as Ctrl-C does, so that it ends what it started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free, below those that the kernel gives to connections: none takes it meanwhile."""
    while True:
        port = random.randrange(*PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def greets(port: int, address: str = "127.0.0.1") -> bool:
    """Return whether an SMTP server answers there."""
    try:
        with socket.create_connection((address, port), timeout=5) as connection:
            return connection.recv(3) == b"220"
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Wait until `condition()` is true.

    Raises:
        Trouble: it does not hold within `seconds`.

    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Trouble(f"no {what} within {seconds:.0f} s")
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def _stat(pid: int) -> list[str]:
    """Return the fields after the name: index 0 is the state."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _session(pid: int) -> int:
    try:
        return int(_stat(pid)[3])
    except OSError:
        return 0


def _cpu(pid: int) -> float:
    try:
        user, system, reaped_user, reaped_system = map(int, _stat(pid)[11:15])
    except OSError:
        return 0.0
    return max((user + system) * TICK, _scheduled(pid)) + (reaped_user + reaped_system) * TICK


def _scheduled(pid: int) -> float:
    seconds = 0.0
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                seconds += int((task / "schedstat").read_text().split()[0]) / 1e9
    return seconds


def memory_of(pid: int) -> Memory:
    """Return the memory that a process has now; none when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return Memory(0, 0, 0)
    numbers = {name: int(value.split()[0]) * 1024 for name, _, value in (line.partition(":") for line in lines)}
    return Memory(numbers.get("Rss", 0), numbers.get("Pss", 0), numbers.get("Anonymous", 0))
