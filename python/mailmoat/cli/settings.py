"""`mailmoat settings`: every setting with its value, where the value came from, and what it means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, print_json, settings_in_force

if TYPE_CHECKING:
    from mailmoat.settings import Entry, Settings

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
        typer.echo(
            f"{typer.style(entry.key, bold=True)} = {value}  {typer.style(f'[{tree.origin(entry.key)}]', dim=True)}"
        )
        if not changed:
            typer.echo(f"    {entry.meaning}")


def _document(entry: Entry, tree: Settings) -> dict[str, object]:
    value = entry.value(tree)
    return {
        "name": entry.key,
        "environment": entry.environment,
        "value": value if value is None or isinstance(value, bool | int | float | str) else entry.form.show(value),
        "default": entry.default,
        "origin": tree.origin(entry.key),
        "meaning": entry.meaning,
    }
