"""The first process: binds, drops root, forks, watches, reloads. It serves nobody itself and has no threads and no event loop.

`run` promises:

* Every seat of the plan in force is taken: a process that ends is replaced, at once the first time, then with growing waits
  (restarts.py). When no worker ever became ready and one seat has failed `TRIES` times, it gives up.
* SIGTERM, SIGINT: every process is told to drain and has `drain_time` and a little more for it; then it is killed. Exit 0. SIGINT
  once more ends the wait.
* One server on a spool directory: it holds a lock there (instance.py) and says there how it is, for `mailmoat status` and `reload`.
* SIGHUP: settings are read anew. A mistake, an address that cannot be bound, a new recipient file that does not compile, a new
  process that dies or is not ready in time: each is logged and changes nothing. Else the new plan's processes start one by one
  beside the old ones, on the same sockets, and only when the last is ready the old ones are told to drain: no connection is
  refused, and there is never half a reload. SIGHUP during a reload is done afterwards, one during the start when it is over.
* The recipient file is compiled before a plan's first process starts; signals are obeyed meanwhile.
* When this process dies, by whatever, each of its processes sees the lifeline end and gets SIGTERM; a new supervisor can bind beside
  those that still drain.
* It waits in one `poll`, for signals, reports and deadlines; it never polls for anything but a changed recipient file.

`user` and `spool_dir` are those of the start until the next one. Called by cli/serve; owns the log and the signals of the process
from then on. Raises nothing that a setting or the system can cause: such trouble at start is logged, exit 1.
"""

from __future__ import annotations

import gc
import os
import select
import signal
from contextlib import suppress
from math import ceil, inf
from typing import TYPE_CHECKING, Final

from mailmoat import __version__, clock, maillog, metrics
from mailmoat.admin import process as admin_process
from mailmoat.errors import ConfigError
from mailmoat.supervisor import generation as plans
from mailmoat.supervisor import instance, preflight, privileges
from mailmoat.supervisor.children import Child, Children
from mailmoat.supervisor.instance import Reload, State
from mailmoat.supervisor.signals import SignalPipe
from mailmoat.supervisor.systemd import Notifier

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from mailmoat.settings import Settings
    from mailmoat.supervisor.context import AdminProcess, WorkerContext
    from mailmoat.supervisor.generation import Plan, Seat
    from mailmoat.supervisor.refresh import Refresh

TRIES: Final = 3
"""Failures of one seat before any worker was ever ready, after which the server gives up."""


def run(
    settings: Settings,
    reload: Callable[[], Settings],
    *,
    worker: Callable[[WorkerContext], None],
    admin: AdminProcess = admin_process.run,
) -> int:
    """Serve until told to end; return the exit status. `worker` and `admin` are what the forked processes do."""
    maillog.configure(settings.log.format, settings.log.level)
    try:
        supervisor = Supervisor(settings, reload, worker, admin)
    except ConfigError as error:
        for reason in error.mistakes:
            maillog.event("start-refused", level="error", reason=reason)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        maillog.event("start-refused", level="error", reason=f"{where}{error.strerror or error}")
        return 1
    return supervisor.run()


class Supervisor:
    """The state of one run."""

    def __init__(
        self,
        settings: Settings,
        reload: Callable[[], Settings],
        worker: Callable[[WorkerContext], None],
        admin: AdminProcess,
    ) -> None:
        """Do all that needs root, and then drop it."""
        # A reload may double the workers, and for a while those of two plans live side by side.
        self._most = max(2 * settings.worker_count, len(os.sched_getaffinity(0)))
        self._reload = reload
        privileges.raise_descriptor_limit()
        self._signals = SignalPipe()
        preflight.check(settings)
        account = privileges.account(settings.user)
        self._owner = account.uid if account else None
        preflight.own_directory(settings.spool_dir, account)
        self._claim = instance.claim(settings.spool_dir, self._owner)
        self._in_force = plans.make(0, settings, None, self._most, self._owner)
        self._next: Plan | None = None
        slots = 2 * self._most
        self._shared = metrics.share(slots)
        self._metrics = metrics.Metrics(self._shared, slots)
        self._children = Children(self._shared, slots, worker, admin)
        if account is not None:
            privileges.drop(account)
        elif os.geteuid() == 0:
            reason = "name an account in `user` to drop root after binding"
            maillog.event("running-as-root", level="warning", reason=reason)
        elif settings.user is not None:
            reason = "only root can become another user"
            maillog.event("user-ignored", level="warning", user=settings.user, reason=reason)
        self._notify = Notifier()
        self._generation = 0
        self._started = clock.wall_ms()
        self._reload_begun = 0
        self._last_reload: Reload | None = None
        self._kept: tuple[str, ...] = ()
        self._begun = self._served = self._announced = self._stopping = self._reload_wanted = False
        self._status = 0

    def run(self) -> int:
        """Serve until told to end; return the exit status."""
        while self._children.alive or not self._stopping:
            self._turn()
        maillog.event("stopped", status=self._status)
        return self._status

    def _turn(self) -> None:
        now = clock.monotonic()
        if not self._stopping:
            if self._refresh is not None:
                self._refresh.turn(self._detach, self._metrics)
            if self._begun or self._begin():
                self._take_seats(now)
                self._advance()
            elif self._stopping:
                return  # it cannot begin, and there is nobody to wait for
        self._children.kill_overdue(now)
        self._wait(now)
        for number in self._signals.received():
            self._obey(number)
        for child in self._children.newly_ready():
            self._served = self._served or child.seat.kind == "worker"
            maillog.event("process-ready", process=str(child.seat), pid=child.process.pid)
        self._announce()
        for child in list(self._children.bury()):
            self._replace(child)

    @property
    def _refresh(self) -> Refresh | None:
        """The one that looks after the recipient file: of two plans the newer one's, for both would write the same snapshot."""
        return (self._next or self._in_force).refresh

    def _begin(self) -> bool:
        """Start to serve, as soon as the recipient file is compiled."""
        refresh = self._in_force.refresh
        if refresh is not None and not refresh.settled:
            return False
        if refresh is not None and not refresh.usable:
            reason = "the recipient file is not usable, and no older snapshot is there"
            maillog.event("start-refused", level="error", reason=reason)
            self._status = 1
            self._stop()
            return False
        self._begun = True
        gc.freeze()  # what exists now is shared with every process to come; collecting it there would copy its pages
        self._metrics.set(metrics.WORKERS_WANTED, self._in_force.workers)
        maillog.event("started", pid=os.getpid(), workers=self._in_force.workers)
        self._say()
        return True

    def _say(self) -> None:
        """Write down what the kernel does not know of us; a disk that is full or gone is the workers' to complain of."""
        plan = self._in_force
        state = State(
            version=__version__,
            started=self._started,
            generation=plan.generation,
            listen=tuple(map(str, plan.addresses)),
            admin=plan.settings.admin.listen,
            reload=self._last_reload,
        )
        with suppress(OSError):
            instance.write_state(plan.settings.spool_dir, state)

    def _wait(self, now: float) -> None:
        """Wait for a signal, a report, or the first deadline after `now`, when this turn looked at them."""
        wait = select.poll()
        wait.register(self._signals.descriptor, select.POLLIN)
        refresh = None if self._stopping else self._refresh
        reports = [child.process.descriptor for child in self._children.alive.values()]
        for descriptor in [*reports, refresh.descriptor if refresh else -1]:
            if descriptor >= 0:
                wait.register(descriptor, select.POLLIN)
        deadlines = [child.deadline for child in self._children.alive.values()]
        deadlines += [
            seat.retry_at for seat in self._in_force.seats if self._begun and not self._stopping and not seat.pid
        ]
        deadlines += [refresh.wake_at] if refresh else []
        first = min((deadline for deadline in deadlines if deadline > now), default=inf)
        wait.poll(None if first == inf else max(0, ceil((first - clock.monotonic()) * 1000)))

    def _obey(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            if self._stopping and number == signal.SIGINT:
                for child in self._children.alive.values():
                    child.deadline = 0.0
            self._stop()
        elif number == signal.SIGHUP and not self._stopping:
            self._reload_wanted = True

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._notify("STOPPING=1")
            maillog.event("stopping")
            for plan in filter(None, (self._in_force, self._next)):
                plan.close()  # a client that connects from now on gets another server's socket, or a refusal, but not a dead queue
        for child in self._children.alive.values():
            self._children.stop(child)

    # --- seats ---

    def _take_seats(self, now: float) -> None:
        for seat in self._in_force.seats:
            if not seat.pid and seat.retry_at <= now and self._children.room_for(seat):
                self._start(self._in_force, seat)

    def _start(self, plan: Plan, seat: Seat) -> bool:
        try:
            self._children.start(plan, seat, lambda: self._detach({listener for listener, _ in seat.listeners}))
        except OSError as error:
            maillog.event("process-failed", level="error", process=str(seat), error=f"cannot fork: {error.strerror}")
            seat.retry_at = clock.monotonic() + seat.restarts.wait(0.0)
            return False
        return True

    def _replace(self, child: Child) -> None:
        """See to the seat of a process that ended."""
        if child.plan is self._next and not child.told:
            self._give_up_reload(f"{child.seat} of the new settings ended too soon: {child.status}")
        if child.plan is not self._in_force or child.told:
            return
        now, seat = clock.monotonic(), child.seat
        pause = seat.restarts.wait(now - child.ready_at)
        seat.retry_at = now + pause
        if seat.kind == "worker":
            self._metrics.add(metrics.WORKER_RESTARTS)
        maillog.event(
            "process-restart", level="warning", process=str(seat), failures=seat.restarts.failures, wait=pause
        )
        if not self._served and seat.kind == "worker" and seat.restarts.failures >= TRIES and self._next is None:
            maillog.event("gave-up", level="error", reason=f"no worker ever became ready; the last one: {child.status}")
            self._status = 1
            self._stop()

    def _announce(self) -> None:
        """Tell systemd when all workers of the start are ready."""
        if not self._announced and not self._stopping and self._workers_ready():
            self._announced = True
            self._notify("READY=1")
            maillog.event("serving", listen=[str(listener) for listener in self._in_force.addresses])

    def _workers_ready(self) -> bool:
        seats = [seat for seat in self._in_force.seats if seat.kind == "worker"]
        return all(seat.pid and self._children.alive[seat.pid].ready_at < inf for seat in seats)

    # --- reload ---

    def _advance(self) -> None:
        """Take the next step of a reload, if it can be taken."""
        if self._next is None and self._reload_wanted:
            self._reload_wanted = False
            self._begin_reload()
        while self._next is not None and self._compiled(self._next) and self._all_ready_so_far(self._next):
            seat = next((seat for seat in self._next.seats if not seat.pid), None)
            if seat is None:
                self._take_over(self._next)
            elif not self._children.room_for(seat):
                return
            elif not self._start(self._next, seat):
                self._give_up_reload(f"{seat} of the new settings could not be started")

    def _all_ready_so_far(self, plan: Plan) -> bool:
        return all(self._children.alive[seat.pid].ready_at < inf for seat in plan.seats if seat.pid)

    def _begin_reload(self) -> None:
        self._reload_begun = clock.monotonic_ms()
        self._notify("RELOADING=1", f"MONOTONIC_USEC={self._reload_begun * 1000}")
        self._generation += 1
        try:
            settings, self._kept = plans.keep_for_life(self._in_force.settings, self._reload())
            self._next = plans.make(self._generation, settings, self._in_force, self._most, self._owner)
        except ConfigError as error:
            self._refuse_reload(error.mistakes)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a new file, the server goes on with the old one
            self._refuse_reload([f"{type(error).__name__}: {error}"])
        else:
            maillog.event("reload-started", generation=self._generation, workers=self._next.workers)
            if self._in_force.refresh is not None:
                self._in_force.refresh.close()  # it would write the same snapshot; it is due again if this comes to nothing
            if self._next.refresh is not None:
                self._next.refresh.turn(self._detach)

    def _compiled(self, plan: Plan) -> bool:
        """Whether the snapshot is there that new workers will read; only when the settings name another file must it be of this very one."""
        refresh = plan.refresh
        if refresh is None or any(seat.pid for seat in plan.seats):
            return True
        if not refresh.settled:
            return False
        other_file = self._in_force.settings.recipients.file != plan.settings.recipients.file
        if not refresh.usable or (refresh.problems and other_file):
            self._give_up_reload("; ".join(["the recipient file is not usable", *refresh.problems]))
            return False
        return True

    def _refuse_reload(self, reasons: list[str]) -> None:
        for reason in reasons:
            maillog.event("reload-refused", level="error", reason=reason)
        self._end_reload(reasons)

    def _end_reload(self, refused: list[str]) -> None:
        self._last_reload = Reload(self._reload_begun, clock.wall_ms(), tuple(refused), () if refused else self._kept)
        self._say()
        self._notify("READY=1")

    def _give_up_reload(self, reason: str) -> None:
        plan, self._next = self._next, None
        for child in self._children.alive.values():
            if child.plan is plan:
                self._children.stop(child)
        if plan is not None:
            plan.discard()
        self._refuse_reload([reason])

    def _take_over(self, plan: Plan) -> None:
        old, self._in_force, self._next = self._in_force, plan, None
        for child in self._children.alive.values():
            if child.plan is not plan:
                self._children.stop(child)
        old.retire(plan)
        maillog.configure(plan.settings.log.format, plan.settings.log.level)
        self._metrics.set(metrics.WORKERS_WANTED, plan.workers)
        self._announced = True
        self._end_reload([])
        maillog.event("reloaded", generation=plan.generation, workers=plan.workers)

    def _detach(self, own: Container[object] = ()) -> None:
        """Do what a new process does first: close all that is the supervisor's and not its `own`."""
        self._signals.close()
        self._children.detach()
        for plan in filter(None, (self._in_force, self._next)):
            if plan.refresh is not None:
                plan.refresh.detach()
            for address in plan.held():
                for listener in address.sockets:
                    if listener not in own:
                        listener.close()
