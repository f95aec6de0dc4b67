"""Keeps compiled files up to date, such as the recipient snapshot, without using memory and time of the supervisor itself.

Each compile is the work of a short-lived child. Its problems are logged; the same ones again are not. The snapshot in force stays
until a good one replaces it (`directory.snapshot` promises that), and a file that may not be finished is not read before it is
quiet (`file_changes`). Raises nothing.
"""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from mailmoat import clock, maillog
from mailmoat.directory.directory import SourceState
from mailmoat.directory.snapshot import RETRY_TIME, SnapshotKeeper
from mailmoat.events import Event
from mailmoat.file_changes import NONE, QUIET_TIME, Quiet, stamp_of
from mailmoat.supervisor import process

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.metrics import Metrics
    from mailmoat.supervisor.compiled_files import CompiledFile

CHECK_TIME: Final = 1.0
"""Seconds between two looks at the source."""
LONGEST_COMPILE: Final = 120.0
"""Seconds after which a compile is given up."""


class Refresh:
    """The snapshot of one file."""

    def __init__(self, file: CompiledFile) -> None:
        self.file = file
        self._source = file.source
        self._keeper = SnapshotKeeper(file.source, file.snapshot, file.compiler)
        self._quiet = Quiet()
        self._metrics: Metrics | None = None
        self._waits_for = ""
        self._child: process.Process | None = None
        self._deadline = 0.0
        self._next_check = 0.0
        self._tried = NONE
        self._again = 0.0
        self.problems: list[str] = []
        """What is wrong with the source as it was compiled last."""

    @property
    def state(self) -> SourceState:
        """How the file is: see `SourceState`."""
        if self.problems:
            return SourceState.REFUSED
        return SourceState.WAITING if self._waits_for else SourceState.CURRENT

    @property
    def descriptor(self) -> int:
        """Readable when the running compile has something to say; -1 without one."""
        return self._child.descriptor if self._child else -1

    @property
    def wake_at(self) -> float:
        """Return when `turn` must be called at the latest, in monotonic seconds."""
        return self._deadline if self._child else self._next_check

    def look_now(self) -> None:
        """Look at the source at the next turn, and be `settled` only after that."""
        self._next_check = 0.0

    def turn(self, detach: Callable[[], None], counts: Metrics | None = None) -> None:
        """Do what is to do now, without waiting: start a compile that is due, take the result of one that is over; say how it is."""
        self._step(detach)
        self._metrics = counts or self._metrics
        self._publish(self.state)

    def _publish(self, state: SourceState | None) -> None:
        if self._metrics is not None:
            for each in SourceState:
                self._metrics.set(self.file.state[each], int(each is state))

    def _step(self, detach: Callable[[], None]) -> None:
        now = clock.monotonic()
        if self._child is not None:
            self._child.listen()
            if self._child.descriptor < 0:
                self._finish(self._child)
            elif now >= self._deadline:
                self._end()
                self._note([f"{self._source}: not compiled within {LONGEST_COMPILE:.0f} s"])
        elif now >= self._next_check:
            self._next_check = now + CHECK_TIME
            if self._due(now):
                self._start(now, detach)

    @property
    def settled(self) -> bool:
        """The source was looked at, and what there was to compile is compiled or given up."""
        return self._next_check > 0.0 and self._child is None

    @property
    def usable(self) -> bool:
        """There is a snapshot to serve with, be it an older one."""
        return not self.problems or self._entries() is not None

    def _entries(self) -> int | None:
        return self.file.compiler.entries(self.file.snapshot)

    def close(self) -> None:
        """End a running compile, and say nothing of this file any more."""
        self._end()
        self._publish(None)

    def _end(self) -> None:
        if self._child is not None:
            self._child.listen()
            if self._child.descriptor >= 0:  # it lives, so the pid is still its own
                os.kill(self._child.pid, signal.SIGKILL)
            self._let_go(self._child)

    def detach(self) -> None:
        """Close, in a new process, what belongs to the supervisor."""
        if self._child is not None:
            self._child.close()

    def _due(self, now: float) -> bool:
        """Ask the keeper. A failure of the child is not reported to it, so the compile is tried again after a change or after a while."""
        if not self._keeper.due():
            self._waits_for = ""
            if self.problems:  # it was out of reach, and is back as it was
                self._note([])
                self.file.compiled(source=str(self._source), entries=self._entries() or 0)
            return False
        stamp, in_force = stamp_of(self._source), self._keeper.in_force()
        self._wait_for(self._quiet.reason_to_wait(stamp, in_force) if in_force else "")
        return not self._waits_for and (not self.problems or stamp != self._tried or now >= self._again)

    def _wait_for(self, reason: str) -> None:
        if reason and reason != self._waits_for:
            self.file.waits(source=str(self._source), detail=reason, quiet=QUIET_TIME)
        self._waits_for = reason

    def _start(self, now: float, detach: Callable[[], None]) -> None:
        self._tried, self._again, self._deadline = stamp_of(self._source), now + RETRY_TIME, now + LONGEST_COMPILE
        try:
            self._child = process.start("directory", detach, self._compile)
        except OSError as error:
            self._note([f"{self._source}: not compiled: cannot fork: {error.strerror}"])

    def _compile(self, report: process.Report) -> None:
        compiled = self._keeper.compile()
        report(json.dumps({"entries": compiled.entries, "problems": compiled.problems, "warnings": compiled.warnings}))

    def _finish(self, child: process.Process) -> None:
        self._let_go(child)
        try:
            compiled = json.loads(child.report)
        except ValueError:
            self._note([f"{self._source}: not compiled: {child.report or 'the compile was killed'}"])
            return
        self._note(compiled["problems"])
        for warning in compiled["warnings"]:
            maillog.event(Event.DIRECTORY_ENTRY_IDLE, detail=warning)
        if not self.problems:
            self.file.compiled(source=str(self._source), entries=compiled["entries"])

    def _let_go(self, child: process.Process) -> None:
        child.close()
        self._child = None
        with suppress(ChildProcessError):  # the supervisor waits for all its children, and may have been first
            os.waitpid(child.pid, 0)

    def _note(self, problems: list[str]) -> None:
        for problem in problems if problems != self.problems else ():
            self.file.refused(detail=problem)
        self.problems = problems
