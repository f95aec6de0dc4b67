"""Keeps the snapshot of the recipients up to date: compiles it when the recipient file or the table of a source changed.

A table changes in whole steps, so it is compiled at once; a recipient file that may be unfinished holds the compile up, because it would be read, too.
After a compile there is a rest of `REST` times the CPU time that it took: a directory in which much changes costs at most a fifth of one CPU,
and on a busy machine no change waits for the time in which others ran. Raises nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mailmoat import clock
from mailmoat.directory.inputs import UNKNOWN_STATE, RecipientsCompiler, state_of
from mailmoat.file_changes import RETRY_TIME, stamp_of
from mailmoat.supervisor.refresh import Refresh

if TYPE_CHECKING:
    from mailmoat.file_changes import Stamp
    from mailmoat.supervisor.compiled_files import CompiledFile

REST: Final = 4


class DirectoryRefresh(Refresh):
    """The snapshot of recipients that sources have, too."""

    def __init__(self, file: CompiledFile, compiler: RecipientsCompiler) -> None:
        super().__init__(file)
        self._compiler = compiler
        self._rest_until = 0.0
        self._seen: tuple[Stamp, ...] = ()
        self._inputs_tried: tuple[object, ...] = ()
        self._tables_again = 0.0

    def _due(self, now: float) -> bool:
        if now < self._rest_until:
            self._next_check = min(self._next_check, self._rest_until)
            return False
        due = super()._due(now) or (not self._waits_for and self._tables_due(now))
        if due:
            self._seen = ()  # what is read may be newer than what was looked at
        return due

    def _is_in_force(self) -> bool:
        tables = self._compiler.tables
        return not self._compiler.behind(self.file.snapshot) and UNKNOWN_STATE not in map(state_of, tables)

    def _tables_due(self, now: float) -> bool:
        """Return whether a table is not as in the snapshot; files that nobody wrote to are not opened for it."""
        stamps = tuple(
            stamp_of(Path(table.path + suffix)) for table in self._compiler.tables for suffix in ("", "-wal")
        )
        if stamps == self._seen:
            return False
        if not self._compiler.behind(self.file.snapshot):
            self._seen = stamps
            return False
        inputs = (stamp_of(self._source), *map(state_of, self._compiler.tables))
        if self.problems and inputs == self._inputs_tried and now < self._tables_again:
            return False
        self._inputs_tried, self._tables_again = inputs, now + RETRY_TIME
        return True

    def _compile(self) -> dict[str, Any]:
        return {**super()._compile(), "cpu": clock.cpu()}  # the child does nothing else

    def _compiled(self, result: dict[str, Any]) -> None:
        self._rest_until = clock.monotonic() + REST * result["cpu"]
        super()._compiled(result)
