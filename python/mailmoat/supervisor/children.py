"""The supervisor's processes: starts them, takes their reports, stops and reaps them. Why any of this is done is supervisor/supervisor.py's.

A slot (a row of the shared region and an eventfd) belongs to exactly one living worker: its successor, which runs
while the old one still drains, has another. When a worker has ended its slot is wiped and free. Only processes started here are
ever signalled. May fail: OSError from fork.
"""

from __future__ import annotations

import heapq
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final

from mailmoat import clock, maillog
from mailmoat.directory.paths import freshness_path
from mailmoat.events import Event
from mailmoat.supervisor import process
from mailmoat.supervisor.context import WorkerContext
from mailmoat.supervisor.deaths import Deaths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mailmoat._native import Shared
    from mailmoat.events import Level
    from mailmoat.supervisor.context import Programs
    from mailmoat.supervisor.generation import ChildSpec, Generation

READY: Final = "ready"
READY_TIME: Final = 60.0
"""Seconds a process has from its start to readiness."""
DRAIN_MARGIN: Final = 5.0
"""Seconds a process has beyond the drain time before it is killed."""


@dataclass(slots=True, eq=False)
class Child:
    """One living process."""

    process: process.Process
    generation: Generation
    spec: ChildSpec
    slot: int
    """-1: it has none."""
    deadline: float
    """When it is killed, in monotonic seconds."""
    ready_at: float = inf
    stopping: bool = False
    """It got SIGTERM from us."""
    status: str = ""
    """How it ended."""


class Children:
    """All living ones, by pid."""

    def __init__(
        self,
        shared: Shared,
        slots: int,
        programs: Programs,
    ) -> None:
        self.alive: dict[int, Child] = {}
        self._shared, self._programs = shared, programs
        self._tables = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._free = list(range(slots))
        self._deaths = Deaths()
        self._lifeline, self._lifeline_end = os.pipe2(os.O_CLOEXEC)
        self._evict = tuple(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(slots))

    def room_for(self, spec: ChildSpec) -> bool:
        """Return whether a process for this spec can be started now; else an old worker must end first."""
        return spec.kind != "worker" or bool(self._free)

    @property
    def descriptors(self) -> list[int]:
        """Readable when a process has something to say."""
        return [self._tables, *(child.process.descriptor for child in self.alive.values())]

    def tables_changed(self) -> bool:
        """Return whether the directory process has changed a table since the last call."""
        try:
            return os.eventfd_read(self._tables) > 0
        except BlockingIOError:
            return False

    def is_ready(self, spec: ChildSpec) -> bool:
        """Return whether the process of this spec runs and is ready."""
        return bool(spec.pid) and self.alive[spec.pid].ready_at < inf

    def metric(self, child: Child, row: int) -> int:
        """Return what a worker has counted in a row of the metrics."""
        return self._shared.row(child.slot)[row]

    def start(self, generation: Generation, spec: ChildSpec, detach: Callable[[], None]) -> None:
        """Start a process; it calls `detach` first, to close what is not its own."""
        slot = heapq.heappop(self._free) if spec.kind == "worker" else -1
        generation.ticket_secret.step(clock.wall_ms() // 1000)
        try:
            started = process.start(str(spec), detach, lambda report: self._live(generation, spec, slot, report))
        except OSError:
            self._release(slot)
            raise
        spec.pid = started.pid
        self.alive[started.pid] = Child(started, generation, spec, slot, clock.monotonic() + READY_TIME)
        maillog.event(
            Event.PROCESS_STARTED, process=str(spec), pid=started.pid, slot=slot, generation=generation.number
        )

    def stop(self, child: Child) -> None:
        """Send it SIGTERM: it drains and ends."""
        if not child.stopping:
            child.stopping = True
            child.deadline = clock.monotonic() + child.generation.settings.drain_time + DRAIN_MARGIN
            os.kill(child.process.pid, signal.SIGTERM)

    def kill_overdue(self, now: float) -> None:
        """Kill those whose deadline has passed."""
        for child in self.alive.values():
            if now >= child.deadline:
                reason = "did not end in time" if child.stopping else f"was not ready within {READY_TIME:.0f} s"
                maillog.event(Event.PROCESS_KILLED, process=str(child.spec), pid=child.process.pid, detail=reason)
                child.deadline = inf
                os.kill(child.process.pid, signal.SIGKILL)

    def newly_ready(self) -> Iterator[Child]:
        """Take their reports; give those that are ready since the last call."""
        for child in self.alive.values():
            if child.process.descriptor >= 0:
                child.process.listen()
                if child.process.report == READY:
                    child.ready_at = clock.monotonic()
                    child.deadline = child.deadline if child.stopping else inf
                    yield child

    def reap(self) -> Iterator[Child]:
        """Give those that ended since the last call; also reaps orphans that fall to us as process 1 of a container."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                child = self.alive.pop(pid, None)
                if child is not None:
                    self._settle(child, status)
                    yield child

    def detach(self) -> None:
        """Close, in a new process, what belongs to the supervisor."""
        os.close(self._lifeline_end)
        for child in self.alive.values():
            child.process.close()

    def _live(self, generation: Generation, spec: ChildSpec, slot: int, report: process.Report) -> None:
        """Do the work of that process."""

        def ready() -> None:
            report(READY)

        if spec.kind == "admin":
            hosts = {"localhost", generation.settings.hostname, *generation.settings.admin.hosts}
            listener = spec.listeners[0][0]
            sources = freshness_path(generation.settings.spool_dir) if generation.settings.directories else None
            self._programs.admin(
                listener, self._shared, ready=ready, lifeline=self._lifeline, hosts=hosts, sources=sources
            )
            return
        if spec.kind == "directory":
            lifeline, changed = self._lifeline, self._tables
            self._programs.directory(generation.settings, ready=ready, lifeline=lifeline, changed=changed)
            return
        context = WorkerContext(
            slot,
            generation.number,
            generation.settings,
            spec.listeners,
            self._shared,
            self._lifeline,
            ready,
            self._evict,
            generation.certificates,
            generation.ticket_secret,
            generation.new_next_hop,
        )
        self._programs.worker(context)

    def _settle(self, child: Child, status: int) -> None:
        """Free what it had and say how it ended."""
        child.process.listen()
        child.process.close()
        code = os.waitstatus_to_exitcode(status)
        child.status = f"exit {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
        if child.process.report.startswith("failed: "):
            child.status += f", {child.process.report.removeprefix('failed: ')}"
        if child.slot >= 0:
            self._shared.notes_settle(child.slot, self._deaths.is_crash(status))
        self._release(child.slot)
        if child.spec.pid == child.process.pid:
            child.spec.pid = 0
        level: Level = "info" if child.stopping and code == 0 else "warning"
        maillog.event(
            Event.PROCESS_ENDED, level=level, process=str(child.spec), pid=child.process.pid, status=child.status
        )

    def _release(self, slot: int) -> None:
        if slot >= 0:
            self._shared.reset_gauges(slot)
            self._shared.source_clear(slot)
            self._shared.next_hop_clear(slot)
            with suppress(BlockingIOError):
                os.eventfd_read(self._evict[slot])
            heapq.heappush(self._free, slot)
