"""Keeps the snapshot of the lists up to date: compiles the administrator's files when they change, and ours if a command could not.

A file with a mistake, or one that cannot be read, is an alarm and keeps what it said before; the server starts all the same, since a
list that is missing must not stop the mail. Raises nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mailmoat import maillog
from mailmoat.events import Event
from mailmoat.file_changes import NONE, QUIET_TIME, RETRY_TIME
from mailmoat.lists.compiler import Keeper, Wanted, compile_sources
from mailmoat.lists.lists import LISTS_STATE, ListsState
from mailmoat.lists.store import locked
from mailmoat.supervisor.compiler import Compiler

if TYPE_CHECKING:
    from mailmoat.settings import Settings


class ListsRefresh(Compiler):
    """The snapshot of all lists of these settings."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("lists", "list of clients", "lists of clients")
        self._settings = settings
        self._keeper = Keeper(settings)
        self._wanted: tuple[Wanted, ...] = ()
        self._tried: tuple[Wanted, ...] = ()
        self._again = 0.0
        self._logged = NONE

    @property
    def state(self) -> ListsState:
        """How the files are: see `ListsState`."""
        if self.problems:
            return ListsState.REFUSED
        return ListsState.WAITING if any(each.waits_for for each in self._wanted) else ListsState.CURRENT

    def _publish(self, *, watched: bool) -> None:
        if self._metrics is not None:
            for each in ListsState:
                self._metrics.set(LISTS_STATE[each], int(watched and each is self.state))

    def _due(self, now: float) -> bool:
        before, self._wanted = self._wanted, self._keeper.look()
        waited = {each.source for each in before if each.waits_for}
        for each in self._wanted:
            if each.waits_for and each.source not in waited:
                title = each.source.title
                maillog.event(Event.LISTS_WAIT, source=title, detail=each.waits_for, quiet=QUIET_TIME)
        self._log_change()
        if not self._keeper.due(self._wanted):
            self._note([])
            return False
        if self.problems and self._wanted == self._tried and now < self._again:
            return False
        self._tried, self._again = self._wanted, now + RETRY_TIME
        return True

    def _compile(self) -> dict[str, Any]:
        try:
            with locked(self._settings, _wait):
                report = compile_sources(
                    self._keeper.target, [(each.source, not each.waits_for) for each in self._wanted]
                )
        except OSError as error:
            text = f"{self._keeper.target} cannot be made: {error.strerror}"
            return {"problems": [text]}
        return {"problems": list(report.problems)}

    def _compiled(self, result: dict[str, Any]) -> None:  # noqa: ARG002 - problems are all it has
        self._keeper.look()
        self._log_change()

    def _log_change(self) -> None:
        """Log another snapshot, whoever made it: a command does so as well."""
        compiled = self._keeper.compiled
        if compiled.stamp not in (NONE, self._logged):
            self._logged = compiled.stamp
            blocked, allowed = compiled.entries
            maillog.event(Event.LISTS_COMPILED, blocked=blocked, allowed=allowed)

    def _note(self, problems: list[str]) -> None:
        for problem in problems if problems != self.problems else ():
            maillog.event(Event.LISTS_REFUSED, detail=problem)
        self.problems = problems


def _wait() -> None:
    """Wait for the lock: a command that changes a list has it for a moment."""
