"""The compiled files of one generation and its lists of clients, which one compile at a time keeps up to date. Raises nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.directory.inputs import RecipientsCompiler
from mailmoat.supervisor.compiled_files import compiled_files
from mailmoat.supervisor.directory_refresh import DirectoryRefresh
from mailmoat.supervisor.lists_refresh import ListsRefresh
from mailmoat.supervisor.refresh import Refresh

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.metrics import Metrics
    from mailmoat.settings import Settings
    from mailmoat.supervisor.compiled_files import CompiledFile
    from mailmoat.supervisor.compiler import Compiler


def _refresh(file: CompiledFile) -> Refresh:
    compiler = file.compiler
    if isinstance(compiler, RecipientsCompiler) and compiler.tables:
        return DirectoryRefresh(file, compiler)
    return Refresh(file)


class Refreshes:
    """Those of these settings."""

    def __init__(self, settings: Settings) -> None:
        self._files = tuple(map(_refresh, compiled_files(settings)))
        self._all: tuple[Compiler, ...] = (*self._files, ListsRefresh(settings))

    @property
    def _running(self) -> Compiler | None:
        """The one whose compile runs."""
        return next((each for each in self._all if each.descriptor >= 0), None)

    @property
    def descriptor(self) -> int:
        """Readable when the running compile has something to say; -1 without one."""
        running = self._running
        return running.descriptor if running else -1

    @property
    def wake_at(self) -> float:
        """When `turn` must be called at the latest, in monotonic seconds."""
        running = self._running
        return running.wake_at if running else min(each.wake_at for each in self._all)

    @property
    def settled(self) -> bool:
        """Every file was looked at, and what there was to compile is compiled or given up."""
        return all(each.settled for each in self._all)

    @property
    def problems(self) -> list[str]:
        """What is wrong with the files as they were compiled last, one that cannot be used after the other."""
        return [
            problem
            for each in self._all
            if each.problems
            for problem in (f"the {each.name} is not usable", *each.problems)
        ]

    def unusable(self, before: Settings | None = None) -> list[str]:
        """Return why workers cannot serve with what is compiled; lists of clients are no reason, because without them mail flows.

        After settings `before`, a file that these do not name must be good itself.
        """
        known = {file.source for file in compiled_files(before)} if before else set()
        return [
            "; ".join([f"the {each.name} is not usable", *(each.problems if before else ())])
            for each in self._files
            if not each.usable or (before is not None and each.problems and each.file.source not in known)
        ]

    def look_now(self) -> None:
        """Look at each file at the next turn, and be `settled` only after that."""
        for each in self._all:
            each.look_now()

    def turn(self, detach: Callable[[], None], counts: Metrics | None = None) -> None:
        """Do what is to do now, without waiting; then `wake_at` is later than now."""
        ran = self._running is not None
        self._look(detach, counts)
        if ran and self._running is None:  # what waited for the end of it may be due since long
            self._look(detach, counts)

    def _look(self, detach: Callable[[], None], counts: Metrics | None) -> None:
        for each in self._all:
            if self._running in (None, each):
                each.turn(detach, counts)

    def close(self) -> None:
        """End a running compile, and say nothing of these files any more."""
        for each in self._all:
            each.close()

    def detach(self) -> None:
        """Close, in a new process, what belongs to the supervisor."""
        for each in self._all:
            each.detach()
