"""What the snapshot of the recipients is compiled from: the recipient file, and the table of each synchronised source, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat._native import Directory as Snapshot
from mailmoat._native import compile_directory, table_state
from mailmoat.directory.paths import directory_of, table_path
from mailmoat.directory.snapshot import Input, Scope
from mailmoat.file_changes import Stamp
from mailmoat.settings.sections.directories import sources

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mailmoat.settings import Settings

UNKNOWN_STATE: Final = "?"
"""Of a table that cannot be read now."""
UNREAD_STATE: Final = ""
"""Of a table that is missing, or was not read whole yet."""


class RecipientsCompiler(NamedTuple):
    """Compiles the recipients of these settings. See `snapshot.Compiler`; the source that its methods are given is the recipient file."""

    text: Path | None
    """The recipient file; None when none is set."""
    tables: tuple[Input, ...]
    scope: Scope

    @classmethod
    def of(cls, settings: Settings) -> RecipientsCompiler:
        """Return that of these settings."""
        return cls(settings.recipients.file, tuple(table_inputs(settings)), Scope.of(settings))

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The recipient file, which decides first, and the tables."""
        return (*((Input.text(self.text),) if self.text else ()), *self.tables)

    def source(self, settings: Settings) -> Path:
        """Return the recipient file; without one, a name in the directory of the tables, which no file has."""
        return self.text or directory_of(settings.spool_dir) / "tables"

    def compile(self, source: Path, snapshot: Path) -> tuple[int, list[str], list[str]]:
        """See `Compiler`."""
        entries, problems, warnings = compile_directory(self.inputs, str(snapshot), *self.scope)
        return entries, self._named(source, problems), self._named(source, warnings)

    def made_from(self, source: Path, snapshot: Path) -> Stamp | None:  # noqa: ARG002 - it is the file above
        """See `Compiler`."""
        made = _opened(snapshot)
        return Stamp(*made.stamp) if made is not None and made.is_for(self.inputs, *self.scope) else None

    def entries(self, snapshot: Path) -> int | None:
        """See `Compiler`."""
        made = _opened(snapshot)
        return None if made is None else made.entries

    def behind(self, snapshot: Path) -> bool:
        """Return whether a table is another than when the snapshot was made: not one that was lost, of which nothing is known until it is read whole."""
        made = _opened(snapshot)
        if made is None:
            return True
        then = dict(made.tables)
        return any(
            table.number not in then or state_of(table) not in (then[table.number], UNKNOWN_STATE, UNREAD_STATE)
            for table in self.tables
        )

    def _named(self, source: Path, sentences: Sequence[tuple[int, str]]) -> list[str]:
        names = {table.number: table.name for table in self.tables} | {0: str(source)}
        return [f"{names[number]}: {sentence}" for number, sentence in sentences]


def state_of(table: Input) -> str:
    """Return the state of a table as it is now."""
    try:
        return table_state(table.path)
    except OSError:
        return UNKNOWN_STATE


def table_inputs(settings: Settings) -> list[Input]:
    """Return the tables of the synchronised sources; the number of each is that of its row, from 1."""
    rows = enumerate(sources(settings.directory, settings.directories), 1)
    return [
        Input(number, row.name, str(table_path(settings.spool_dir, row.name)))
        for number, row in rows
        if row.mode == "sync"
    ]


def _opened(snapshot: Path) -> Snapshot | None:
    try:
        return Snapshot(str(snapshot))
    except OSError:
        return None
