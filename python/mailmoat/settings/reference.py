"""The list of all settings: for `mailmoat settings`, for the table of the manual, and for suggestions for unknown names.

Everything is derived from the tree, so that there is no second list.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from pydantic import BaseModel

from mailmoat.settings import array
from mailmoat.settings.sections.delivery import NextHopSettings
from mailmoat.settings.sections.directory import DirectorySettings
from mailmoat.settings.sections.routes import NOT_INHERITED
from mailmoat.settings.tree import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

    from mailmoat.settings.notation import Form

PREFIX = str(Settings.model_config["env_prefix"])
NESTED = str(Settings.model_config["env_nested_delimiter"])
COMPUTED = {
    "hostname": "the machine's name",
    "relay.default_domain": "the first local domain",
    "dns.servers": "those of `/etc/resolv.conf`",
    "recipient_domains[].delimiter": "as `recipients.delimiter`",
    **{f"directories[].{name}": f"as `directory.{name}`" for name in DirectorySettings.model_fields},
    **{f"routes[].{name}": f"as `delivery.{name}`" for name in NextHopSettings.model_fields.keys() - NOT_INHERITED},
}
"""Defaults that depend on the machine or on another setting."""

REQUIRED = "required"
"""In place of the default of a setting that each row must have."""

INTRODUCTION = """\
# Settings

<!-- Made by `mailmoat settings --reference`; a test holds it to the program. -->

A setting is taken from the environment, else from the file named by `--config` or `MAILMOAT_CONFIG` (without either it is
`/etc/mailmoat/mailmoat.toml`, if it exists), else it has the default below. An empty variable counts as not set. In the file (TOML) `tarpit.time` is `time` below `[tarpit]`. Durations are seconds, or a number with `s`, `m`, `h` or `d`; sizes are octets, or a
number with `KiB`, `MiB` or `GiB`; a list is an array in the file and has commas in the environment. An array of tables has a table for
each of its rows in the file, with its name in double brackets, and the order of the rows counts; in the environment it is one JSON array of objects,
which replaces the rows of the file. The settings of a row are listed below it, with `[]`. A relative path in the file counts
from the file's directory, in the environment from the working directory. `mailmoat settings` prints the values in force and their
origin; `mailmoat check-config` finds mistakes.

| Name | Environment | Default | Meaning |
| --- | --- | --- | --- |
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting: its key (`tarpit.time`), environment name, default as text, form and meaning."""

    key: str
    environment: str
    default: str
    form: Form
    meaning: str
    row: dict[str, Entry] = dataclasses.field(default_factory=dict)
    """Of an array of tables: the settings of a row, by name; their keys have `[]` behind that of the array."""

    def value(self, settings: Settings) -> object:
        """Return the value of the setting in a tree."""
        value: object = settings
        for name in self.key.split("."):
            value = getattr(value, name)
        return value


def _entries(section: type[BaseModel], above: tuple[str, ...]) -> Iterator[Entry]:
    for name, field in section.model_fields.items():
        names = (*above, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _entries(field.annotation, names)
        else:
            yield _entry(".".join(names), field)


def _entry(key: str, field: FieldInfo) -> Entry:
    form = array.form_of(field)
    environment = PREFIX + key.replace(".", NESTED).upper()
    default = COMPUTED[key] if key in COMPUTED else REQUIRED if field.is_required() else form.show(field.default)
    row = array.row_of(field)
    inner = {name: _entry(f"{key}[].{name}", inside) for name, inside in row.model_fields.items()} if row else {}
    return Entry(key, environment, default, form, field.description or "", inner)


@cache
def entries(tree: type[Settings] = Settings) -> dict[str, Entry]:
    """Return all settings by key, in the order of the tree."""
    return {entry.key: entry for entry in _entries(tree, ())}


def reference() -> str:
    """Return the text of `docs/settings.md`."""
    return INTRODUCTION + "".join(_line(entry, f"`{entry.environment}`") for entry in entries().values())


def _line(entry: Entry, environment: str) -> str:
    inner = "".join(_line(each, f"in {environment}") for each in entry.row.values())
    return f"| `{entry.key}` | {environment} | {_cell(entry)} | {entry.meaning} |\n{inner}"


def _cell(entry: Entry) -> str:
    if entry.key in COMPUTED or entry.default == REQUIRED:
        return entry.default
    return f"`{entry.default}`" if entry.default else "none"
