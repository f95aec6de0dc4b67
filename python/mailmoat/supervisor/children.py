"""The supervisor's processes: starts them, hears them, stops them, buries them. Why any of this is done is supervisor/supervisor.py's.

A slot (a row of the shared region and an eventfd) belongs to exactly one living worker: its successor on the same seat, which runs
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
from mailmoat.supervisor import process
from mailmoat.supervisor.context import WorkerContext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mailmoat._native import Shared
    from mailmoat.supervisor.context import AdminProcess
    from mailmoat.supervisor.generation import Plan, Seat

READY: Final = "ready"
READY_TIME: Final = 60.0
"""Seconds a process has from its start to readiness."""
DRAIN_MARGIN: Final = 5.0
"""Seconds a process has beyond the drain time before it is killed."""


@dataclass(slots=True, eq=False)
class Child:
    """One living process."""

    process: process.Process
    plan: Plan
    seat: Seat
    slot: int
    """-1: it has none."""
    deadline: float
    """When it is killed, in monotonic seconds."""
    ready_at: float = inf
    told: bool = False
    """It was told to end."""
    status: str = ""
    """How it ended."""


class Children:
    """All living ones, by pid."""

    def __init__(
        self,
        shared: Shared,
        slots: int,
        worker: Callable[[WorkerContext], None],
        admin: AdminProcess,
    ) -> None:
        self.alive: dict[int, Child] = {}
        self._shared, self._worker, self._admin = shared, worker, admin
        self._free = list(range(slots))
        self._lifeline, self._lifeline_end = os.pipe2(os.O_CLOEXEC)
        self._shed = tuple(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(slots))

    def room_for(self, seat: Seat) -> bool:
        """Whether a process for this seat can be started now; else an old worker must end first."""
        return seat.kind == "admin" or bool(self._free)

    def start(self, plan: Plan, seat: Seat, detach: Callable[[], None]) -> None:
        """Put a new process on a free seat; it calls `detach` first, to close what is not its own."""
        slot = heapq.heappop(self._free) if seat.kind == "worker" else -1
        try:
            started = process.start(str(seat), detach, lambda report: self._live(plan, seat, slot, report))
        except OSError:
            self._release(slot)
            raise
        seat.pid = started.pid
        self.alive[started.pid] = Child(started, plan, seat, slot, clock.monotonic() + READY_TIME)
        maillog.event("process-started", process=str(seat), pid=started.pid, slot=slot, generation=plan.generation)

    def stop(self, child: Child) -> None:
        """Tell it to drain and end."""
        if not child.told:
            child.told = True
            child.deadline = clock.monotonic() + child.plan.settings.drain_time + DRAIN_MARGIN
            os.kill(child.process.pid, signal.SIGTERM)

    def kill_overdue(self, now: float) -> None:
        """Kill those whose deadline has passed."""
        for child in self.alive.values():
            if now >= child.deadline:
                reason = "did not end in time" if child.told else f"was not ready within {READY_TIME:.0f} s"
                maillog.event(
                    "process-killed", level="warning", process=str(child.seat), pid=child.process.pid, reason=reason
                )
                child.deadline = inf
                os.kill(child.process.pid, signal.SIGKILL)

    def newly_ready(self) -> Iterator[Child]:
        """Hear what they report; give those that are ready since the last call."""
        for child in self.alive.values():
            if child.process.descriptor >= 0:
                child.process.listen()
                if child.process.report == READY:
                    child.ready_at = clock.monotonic()
                    child.deadline = child.deadline if child.told else inf
                    yield child

    def bury(self) -> Iterator[Child]:
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

    def _live(self, plan: Plan, seat: Seat, slot: int, report: process.Report) -> None:
        """Be that process."""

        def ready() -> None:
            report(READY)

        if seat.kind == "admin":
            hosts = {"localhost", plan.settings.hostname, *plan.settings.admin.hosts}
            self._admin(seat.listeners[0][0], self._shared, ready=ready, lifeline=self._lifeline, hosts=hosts)
            return
        context = WorkerContext(
            slot,
            plan.generation,
            plan.settings,
            seat.listeners,
            self._shared,
            self._lifeline,
            ready,
            self._shed,
            plan.new_next_hop,
        )
        self._worker(context)

    def _settle(self, child: Child, status: int) -> None:
        """Free what it had and say how it ended."""
        child.process.listen()
        child.process.close()
        code = os.waitstatus_to_exitcode(status)
        child.status = f"exit {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
        if child.process.report.startswith("failed: "):
            child.status += f", {child.process.report.removeprefix('failed: ')}"
        self._release(child.slot)
        if child.seat.pid == child.process.pid:
            child.seat.pid = 0
        level: maillog.Level = "info" if child.told and code == 0 else "warning"
        maillog.event("process-ended", level=level, process=str(child.seat), pid=child.process.pid, status=child.status)

    def _release(self, slot: int) -> None:
        if slot >= 0:
            self._shared.reset_gauges(slot)
            self._shared.source_clear(slot)
            with suppress(BlockingIOError):
                os.eventfd_read(self._shed[slot])
            heapq.heappush(self._free, slot)
