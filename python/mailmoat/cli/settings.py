"""`mailmoat settings`: every setting with its value, where the value came from, and what it means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, print_json, settings_in_force

if TYPE_CHECKING:
    from mailmoat.settings import Entry, Settings
    from mailmoat.settings.section import Section

ReferenceOption = Annotated[
    bool, typer.Option("--reference", help="Print the manual's table instead (docs/settings.md).")
]


ChangedOption = Annotated[bool, typer.Option("--changed", help="Only what the file or the environment sets.")]


def settings(
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
    changed: ChangedOption = False,
    reference: ReferenceOption = False,
) -> None:
    """Print every setting with value, origin and meaning."""
    from mailmoat.settings import DEFAULT, entries
    from mailmoat.settings import reference as table

    if reference:
        typer.echo(table(), nl=False)
        return
    tree = settings_in_force(config)
    shown = [entry for entry in entries(type(tree)).values() if not changed or tree.origin(entry.key) != DEFAULT]
    if as_json:
        print_json([_document(entry, tree) for entry in shown])
        return
    for entry in shown:
        value = entry.form.show(entry.value(tree))
        origin = typer.style(f"[{tree.origin(entry.key)}]", dim=True)
        for name, written in _rows(entry, tree) or [(entry.key, value)]:
            typer.echo(f"{typer.style(name, bold=True)} = {written}  {origin}")
        if not changed:
            typer.echo(f"    {entry.meaning}")


def _rows(entry: Entry, tree: Settings) -> list[tuple[str, str]]:
    """Return the settings of the rows of an array of tables, a line each; without those that hold no value of their own."""
    return [
        (f"{entry.key}[{number}].{name}", entry.row[name].form.show(getattr(row, name)))
        for number, row in enumerate(cast("tuple[Section, ...]", entry.value(tree)) if entry.row else (), 1)
        for name in entry.row
        if getattr(row, name) is not None or name in row.model_fields_set
    ]


def _document(entry: Entry, tree: Settings) -> dict[str, object]:
    from mailmoat.settings.array import documents

    value = documents(entry.value(tree)) if entry.row else entry.value(tree)
    return {
        "name": entry.key,
        "environment": entry.environment,
        "value": value
        if value is None or isinstance(value, bool | int | float | str | list)
        else entry.form.show(value),
        "default": entry.default,
        "origin": tree.origin(entry.key),
        "meaning": entry.meaning,
    }
