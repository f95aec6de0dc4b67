"""From nested tables, as they are written, to values by key; and what is wrong with them, in one sentence each.

A sentence has the place, the text, the mistake and the fix. In an array of tables the place is the row as well, by its number from 1, and
the line of the file. Reads no file and no environment; raises nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from mailmoat.settings import array, notation
from mailmoat.settings.reference import entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pydantic_core import ErrorDetails

    from mailmoat.settings.reference import Entry
    from mailmoat.settings.tree import Settings

Flat = dict[str, object]
"""Values as written, by key (`tarpit.time`); of an array of tables, its rows."""
CLOSE: Final = 0.75
"""How like a name has to be to one that is meant."""
SHORT: Final = 3
CLOSE_SHORT: Final = 0.6
"""The same for a name of so many letters: where two of three are swapped, only two are in order."""


@dataclass(frozen=True, slots=True)
class Written:
    """A settings file: its name and its text; both empty for the environment."""

    name: str = ""
    text: str = ""

    def row(self, entry: Entry, number: int, name: str = "") -> str:
        """Return the place of a row of an array, or of a setting in it."""
        if not self.name:
            return entry.environment
        line = array.line_of(self.text, entry.key, number, name)
        return f"{self.name}: line {line}" if line else self.name


def leaves(
    table: Mapping[str, object],
    tree: type[Settings],
    file: Written,
    directory: Path,
    mistakes: list[str],
    *,
    above: str = "",
) -> Iterator[tuple[str, object]]:
    """Yield the values in nested tables that are settings, by key; relative paths are below `directory`.

    An unknown name becomes a mistake.
    """
    known = entries(tree)
    sections = {key.partition(".")[0] for key in known if "." in key}
    for name, value in table.items():
        key = above + name
        if key in known and known[key].row:
            yield key, _rows(known[key], value, file, directory, mistakes)
        elif key in known:
            yield key, _rebased(value, known[key].form.rebase, directory)
        elif key not in sections:
            meant = probable(key, known.keys() | sections) or "remove it"
            mistakes.append(f"{file.name}: {key} = {notation.written(value, key)}: no such setting; {meant}")
        elif isinstance(value, dict):
            yield from leaves(value, tree, file, directory, mistakes, above=f"{key}.")
        else:
            mistakes.append(
                f"{file.name}: {key} = {notation.written(value)}: is a group of settings; write [{key}] and the settings below it"
            )


def _rows(entry: Entry, value: object, file: Written, directory: Path, mistakes: list[str]) -> list[dict[str, object]]:
    """Return the rows of an array of tables with the settings that a row can have."""
    try:
        found = array.rows(value)
    except ValueError as error:
        where = f"{file.name}: {entry.key}" if file.name else entry.environment
        mistakes.append(f"{where} = {notation.written(value)}: {error}; write {entry.form.write}")
        return []
    kept = []
    for number, row in enumerate(found, 1):
        for name in sorted(row.keys() - entry.row.keys()):
            where = f"{file.row(entry, number, name)}: {entry.key}[{number}].{name}"
            meant = probable(name, set(entry.row)) or "remove it"
            mistakes.append(f"{where} = {notation.written(row[name], name)}: no such setting; {meant}")
        known = row.keys() & entry.row.keys()
        kept.append(
            {name: _rebased(row[name], entry.row[name].form.rebase, directory) for name in row if name in known}
        )
    return kept


def _rebased(value: object, rebase: Callable[[str, Path], str] | None, directory: Path) -> object:
    """Return a value with its relative paths below `directory`, those in an array as well."""
    if rebase and isinstance(value, str):
        return rebase(value, directory)
    if rebase and isinstance(value, list):
        return [_rebased(item, rebase, directory) for item in value]
    return value


def probable(name: str, known: set[str]) -> str:
    """Return the name that was probably meant, as a fix; for a key also if its section is missing or wrong."""
    cutoff = CLOSE if len(name) > SHORT else CLOSE_SHORT
    close = get_close_matches(name, sorted(known), n=1, cutoff=cutoff)
    close = close or [key for key in sorted(known) if key.rpartition(".")[2] == name.rpartition(".")[2]]
    return f"did you mean {close[0]}?" if close else ""


def nested(flat: Flat) -> dict[str, Any]:
    """Return nested tables for keys with dots."""
    tables: dict[str, Any] = {}
    for key, value in flat.items():
        section, _, name = key.rpartition(".")
        table = tables.setdefault(section, {}) if section else tables
        table[name] = value
    return tables


def mistake(detail: ErrorDetails, known: Mapping[str, Entry], origins: Mapping[str, str], file: Written) -> str:
    """Return one sentence: the place, the text, the mistake, the fix."""
    about = detail.get("ctx", {})
    path = about["key"].split(".") if "key" in about else (*detail["loc"], about.get("name"))
    entry, inside = _entry(path, known)
    origin = origins.get(entry.key)
    wrong = str(about.get("error", detail["msg"]))
    value = about.get("value", detail["input"])
    if inside:
        setting, shown, place = _in_row(entry, inside, file if origin == file.name else Written())
        if detail["type"] == "missing":
            return f"{place}: {shown} is not set; write {setting.form.write}"
        return f"{place}: {shown} = {notation.written(value)}: {wrong}; write {setting.form.write}"
    where = f"{origin if origin == entry.environment else entry.key} = {notation.written(value)}"
    if origin is None and not value:
        where = f"{entry.key} is not set"
    if origin and origin != entry.environment:
        where = f"{origin}: {where}"
    return f"{where}: {wrong}; {about.get('fix') or f'write {entry.form.write}'}"


def _entry(path: Sequence[int | str | None], known: Mapping[str, Entry]) -> tuple[Entry, Sequence[int | str | None]]:
    """Return the setting that a path of pydantic is in, and the rest of the path when it is an array of tables."""
    names: list[str] = []
    for at, part in enumerate(path, 1):
        if isinstance(part, str):
            names.append(part)
        entry = known.get(".".join(names))
        if entry is not None:
            return entry, path[at : at + 2] if entry.row and path[at] is not None else ()
    raise KeyError(path)


def _in_row(entry: Entry, inside: Sequence[int | str | None], file: Written) -> tuple[Entry, str, str]:
    """Return the setting of a row that the rest of a path names, how it is called, and its place."""
    number, name = int(inside[0] or 0) + 1, str(inside[1])
    return entry.row[name], f"{entry.key}[{number}].{name}", file.row(entry, number, name)
