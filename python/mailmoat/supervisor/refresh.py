"""Keeps compiled files up to date, such as the recipient snapshot.

The snapshot in force stays until a good one replaces it (`directory.snapshot` promises that), and a file that may not be finished is not
read before it is quiet (`file_changes`). Raises nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mailmoat import maillog
from mailmoat.directory.directory import SourceState
from mailmoat.directory.snapshot import SnapshotKeeper
from mailmoat.events import Event
from mailmoat.file_changes import NONE, QUIET_TIME, RETRY_TIME, Quiet, stamp_of
from mailmoat.supervisor.compiler import Compiler

if TYPE_CHECKING:
    from mailmoat.supervisor.compiled_files import CompiledFile


class Refresh(Compiler):
    """The snapshot of one file."""

    def __init__(self, file: CompiledFile) -> None:
        super().__init__("directory", file.name, str(file.source))
        self.file = file
        self._source = file.source
        self._keeper = SnapshotKeeper(file.source, file.snapshot, file.compiler)
        self._quiet = Quiet()
        self._waits_for = ""
        self._tried = NONE
        self._again = 0.0

    @property
    def state(self) -> SourceState:
        """How the file is: see `SourceState`."""
        if self.problems:
            return SourceState.REFUSED
        return SourceState.WAITING if self._waits_for else SourceState.CURRENT

    def _publish(self, *, watched: bool) -> None:
        if self._metrics is not None:
            for each in SourceState:
                self._metrics.set(self.file.state[each], int(watched and each is self.state))

    @property
    def usable(self) -> bool:
        """There is a snapshot to serve with, be it an older one."""
        return not self.problems or self._entries() is not None

    def _entries(self) -> int | None:
        return self.file.compiler.entries(self.file.snapshot)

    def _due(self, now: float) -> bool:
        """Ask the keeper. A failure of the child is not reported to it, so the compile is tried again after a change or after a while."""
        if not self._keeper.due():
            self._waits_for = ""
            if self.problems and self._is_in_force():  # it was out of reach, and is back as it was
                self._note([])
                self.file.compiled(source=str(self._source), entries=self._entries() or 0)
            return False
        stamp, in_force = stamp_of(self._source), self._keeper.in_force()
        self._wait_for(self._quiet.reason_to_wait(stamp, in_force) if in_force else "")
        if self._waits_for or (self.problems and stamp == self._tried and now < self._again):
            return False
        self._tried, self._again = stamp, now + RETRY_TIME
        return True

    def _is_in_force(self) -> bool:
        """Return whether the snapshot has all that it is made of, besides the file, which it has."""
        return True

    def _wait_for(self, reason: str) -> None:
        if reason and reason != self._waits_for:
            self.file.waits(source=str(self._source), detail=reason, quiet=QUIET_TIME)
        self._waits_for = reason

    def _compile(self) -> dict[str, Any]:
        compiled = self._keeper.compile()
        return {"entries": compiled.entries, "problems": compiled.problems, "warnings": compiled.warnings}

    def _compiled(self, result: dict[str, Any]) -> None:
        for warning in result["warnings"]:
            maillog.event(Event.DIRECTORY_ENTRY_IDLE, detail=warning)
        if not self.problems:
            self.file.compiled(source=str(self._source), entries=result["entries"])

    def _note(self, problems: list[str]) -> None:
        for problem in problems if problems != self.problems else ():
            self.file.refused(detail=problem)
        self.problems = problems
