"""The first process: binds, drops root, forks, watches, reloads. It serves no client itself and has no threads and no event loop.

`run` promises:

* Every process of the generation in force runs: one that ends is replaced, at once the first time, then with growing waits
  (backoff.py). When no worker ever became ready and one has failed `TRIES` times, the server gives up.
* SIGTERM, SIGINT: every process is notified to drain and has `drain_time` and a little more for it; then it is killed. Exit 0. SIGINT
  once more ends the wait.
* One server on a spool directory: it holds a lock there (instance.py) and writes its state there, for `mailmoat status` and `reload`.
* SIGHUP: settings are read anew (reload.py). If they are the same, the workers read anew what the settings name. Else the new generation's processes start one by one beside the old ones, on the same
  sockets, and only when the last is ready the old ones are notified to drain: no connection is refused, and there is never half a
  reload. SIGHUP during a reload is done afterwards, one during the start when it is over.
* The recipient file is compiled before a generation's first process starts; signals are obeyed meanwhile.
* When this process dies for any reason, each of its processes notices the end of the lifeline and gets SIGTERM; a new supervisor can bind beside
  those that still drain.
* It waits in one `poll`, for signals, reports and deadlines; it polls only for a changed recipient file.

`user` and `spool_dir` are those of the start until the next one. It owns the log and the signals of the process from then on. Raises
nothing that a setting or the system can cause: such an error at start is logged, exit 1.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from functools import partial
from math import ceil, inf
from typing import TYPE_CHECKING, Final

from mailmoat import __version__, clock, maillog
from mailmoat.delivery.route import route_table
from mailmoat.errors import ConfigError
from mailmoat.events import Event
from mailmoat.metrics import WORKER_RESTARTS, WORKERS_WANTED, Metrics, share
from mailmoat.reputation import saved
from mailmoat.runtime import heap
from mailmoat.supervisor import generation as generations
from mailmoat.supervisor import instance, preflight, privileges
from mailmoat.supervisor.children import Child, Children
from mailmoat.supervisor.instance import ReloadResult, State
from mailmoat.supervisor.reload import Reload
from mailmoat.supervisor.signals import SignalPipe
from mailmoat.supervisor.systemd import Notifier

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from mailmoat.settings import Settings
    from mailmoat.supervisor.context import Programs
    from mailmoat.supervisor.generation import ChildSpec, Generation
    from mailmoat.supervisor.refreshes import Refreshes

TRIES: Final = 3
"""Failures of one process before any worker was ever ready, after which the server gives up."""


def run(
    settings: Settings,
    reload: Callable[[], Settings],
    programs: Programs,
) -> int:
    """Serve until a signal ends the server; return the exit status."""
    maillog.configure(settings.log.format, settings.log.level)
    try:
        supervisor = Supervisor(settings, reload, programs)
    except ConfigError as error:
        for reason in error.mistakes:
            maillog.event(Event.START_REFUSED, detail=reason)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        maillog.event(Event.START_REFUSED, detail=f"{where}{error.strerror or error}")
        return 1
    return supervisor.run()


class Supervisor:
    """The state of one run."""

    def __init__(
        self,
        settings: Settings,
        reload: Callable[[], Settings],
        programs: Programs,
    ) -> None:
        """Do all that needs root, and then drop it."""
        # A reload may double the workers, and for a while those of two generations live side by side.
        most = max(2 * settings.worker_count, len(os.sched_getaffinity(0)))
        privileges.raise_descriptor_limit()
        self._signals = SignalPipe()
        preflight.check(settings)
        account = privileges.account(settings.user)
        owner = account.uid if account else None
        preflight.own_directory(settings.spool_dir, account)
        self._lock = instance.lock(settings.spool_dir, owner)
        self._in_force = generations.make(0, settings, None, most, account)
        slots = 2 * most
        self._shared = share(slots)
        self._metrics = Metrics(self._shared, slots)
        self._children = Children(self._shared, slots, programs)
        privileges.assume(account, settings.user)
        saved.load(self._shared, settings.spool_dir)
        self._notify = Notifier()
        make = partial(generations.make, most=most, account=account)
        self._reload = Reload(self, reload, make, self._children)
        self._last_reload: ReloadResult | None = None
        self._started = clock.wall_ms()
        self._begun = self._served = self._announced = self._stopping = False
        self._status = 0

    def run(self) -> int:
        """Serve until a signal ends the server; return the exit status."""
        while self._children.alive or not self._stopping:
            self._turn()
        saved.save(self._shared, self._in_force.settings.spool_dir)
        maillog.event(Event.STOPPED, status=self._status)
        return self._status

    def _turn(self) -> None:
        now = clock.monotonic()
        if not self._stopping:
            self._refreshes.turn(self.detach, self._metrics)
            if self._begun or self._begin():
                self._fill(now)
                self._advance()
            elif self._stopping:
                return  # it cannot begin, and there is nobody to wait for
        self._children.kill_overdue(now)
        self._wait(now)
        for number in self._signals.received():
            self._obey(number)
        if self._children.tables_changed():
            self._refreshes.look_now()
        for child in self._children.newly_ready():
            self._served = self._served or child.spec.kind == "worker"
            maillog.event(Event.PROCESS_READY, process=str(child.spec), pid=child.process.pid)
        self._announce()
        for child in list(self._children.reap()):
            self._replace(child)

    @property
    def _refreshes(self) -> Refreshes:
        """Those that look after compiled files: of two generations the newer one's, for both would write the same snapshots."""
        return (self._reload.next or self._in_force).refreshes

    def _begin(self) -> bool:
        """Start to serve, as soon as the files of its workers are compiled."""
        refreshes = self._in_force.refreshes
        if not refreshes.settled:
            return False
        for unusable in refreshes.unusable():
            maillog.event(Event.START_REFUSED, detail=f"{unusable}, and no older snapshot is there")
        if refreshes.unusable():
            self._status = 1
            self._stop()
            return False
        self._begun = True
        heap.share()
        self._metrics.set(WORKERS_WANTED, self._in_force.workers)
        maillog.event(Event.STARTED, pid=os.getpid(), workers=self._in_force.workers)
        self._write_state()
        return True

    def _write_state(self) -> None:
        """Write the state that the kernel does not have; workers report a disk that is full or missing."""
        generation = self._in_force
        state = State(
            version=__version__,
            started=self._started,
            generation=generation.number,
            listen=tuple(map(str, generation.addresses)),
            routes=route_table(generation.settings).described,
            admin=generation.settings.admin.listen,
            reload=self._last_reload,
        )
        with suppress(OSError):
            instance.write_state(generation.settings.spool_dir, state)

    def _wait(self, now: float) -> None:
        """Wait for a signal, a report, or the first deadline after `now`, when this turn looked at them."""
        wait = select.poll()
        wait.register(self._signals.descriptor, select.POLLIN)
        refreshes = None if self._stopping else self._refreshes
        for descriptor in [*self._children.descriptors, refreshes.descriptor if refreshes else -1]:
            if descriptor >= 0:
                wait.register(descriptor, select.POLLIN)
        deadlines = [child.deadline for child in self._children.alive.values()]
        deadlines += [
            spec.retry_at for spec in self._in_force.specs if self._begun and not self._stopping and not spec.pid
        ]
        deadlines += [self._reload.wake_at, refreshes.wake_at if refreshes else inf]
        first = min((deadline for deadline in deadlines if deadline > now), default=inf)
        wait.poll(None if first == inf else max(0, ceil((first - clock.monotonic()) * 1000)))

    def _obey(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            if self._stopping and number == signal.SIGINT:
                for child in self._children.alive.values():
                    child.deadline = 0.0
            self._stop()
        elif number == signal.SIGHUP and not self._stopping:
            self._reload.requested = True

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._notify("STOPPING=1")
            maillog.event(Event.STOPPING)
            for generation in filter(None, (self._in_force, self._reload.next)):
                generation.close()  # a client that connects from now on gets another server's socket, or a refusal, but not a dead queue
        for child in self._children.alive.values():
            self._children.stop(child)

    # --- processes ---

    def _fill(self, now: float) -> None:
        for spec in self._in_force.specs:
            if not spec.pid and spec.retry_at <= now and self._children.room_for(spec):
                self.start(self._in_force, spec)

    def start(self, generation: Generation, spec: ChildSpec) -> bool:
        """See `reload.Owner`."""
        try:
            self._children.start(generation, spec, lambda: self.detach({listener for listener, _ in spec.listeners}))
        except OSError as error:
            maillog.event(Event.PROCESS_FAILED, process=str(spec), error=f"cannot fork: {error.strerror}")
            spec.retry_at = clock.monotonic() + spec.backoff.wait(0.0)
            return False
        return True

    def _replace(self, child: Child) -> None:
        """Decide when a process that ended is replaced, or end it all."""
        self._reload.ended(child)
        if child.generation is not self._in_force or child.stopping:
            return
        now, spec = clock.monotonic(), child.spec
        pause = spec.backoff.wait(now - child.ready_at)
        spec.retry_at = now + pause
        if spec.kind == "worker":
            self._metrics.add(WORKER_RESTARTS)
        maillog.event(Event.PROCESS_RESTART, process=str(spec), failures=spec.backoff.failures, wait=pause)
        if not self._served and spec.kind == "worker" and spec.backoff.failures >= TRIES and self._reload.next is None:
            maillog.event(Event.GAVE_UP, detail=f"no worker became ready; the last one: {child.status}")
            self._status = 1
            self._stop()

    def _announce(self) -> None:
        """Tell systemd when all workers of the start are ready."""
        if not self._announced and not self._stopping and self._workers_ready():
            self._announced = True
            self._notify("READY=1")
            maillog.event(Event.SERVING, listen=[str(listener) for listener in self._in_force.addresses])

    def _workers_ready(self) -> bool:
        return all(self._children.is_ready(spec) for spec in self._in_force.specs if spec.kind == "worker")

    # --- reload ---

    def _advance(self) -> None:
        generation = self._reload.advance(self._in_force)
        if generation is None:
            return
        old, self._in_force = self._in_force, generation
        for child in self._children.alive.values():
            if child.generation is not generation:
                self._children.stop(child)
        old.retire(generation)
        maillog.configure(generation.settings.log.format, generation.settings.log.level)
        self._metrics.set(WORKERS_WANTED, generation.workers)
        self._announced = True
        self._reload.succeed()
        maillog.event(Event.RELOADED, generation=generation.number, workers=generation.workers)

    def reload_begins(self, begun_ms: int) -> None:
        """See `reload.Owner`."""
        self._notify("RELOADING=1", f"MONOTONIC_USEC={begun_ms * 1000}")

    def reload_ends(self, result: ReloadResult) -> None:
        """See `reload.Owner`."""
        self._last_reload = result
        self._write_state()
        self._notify("READY=1")

    def detach(self, own: Container[object] = ()) -> None:
        """Do what a new process does first: close all that is the supervisor's and not its `own`."""
        self._signals.close()
        self._children.detach()
        for generation in filter(None, (self._in_force, self._reload.next)):
            generation.refreshes.detach()
            for address in generation.held():
                for listener in address.sockets:
                    if listener not in own:
                        listener.close()
