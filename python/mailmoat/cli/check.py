"""`mailmoat check-config`: every mistake in the settings with its fix, and warnings about what is valid but unwise.

What prevents a start is a mistake as well: a broken recipient file, a key of another certificate, an account that does not exist, a
spool directory that cannot be created.
"""

from __future__ import annotations

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, complain, print_json


def check_config(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Check the settings: exit 0 if they can be used, 1 if they have mistakes. Warnings do not count."""
    from mailmoat.directory.file import examine
    from mailmoat.errors import ConfigError
    from mailmoat.lists import reading as lists
    from mailmoat.policy import sender_file
    from mailmoat.reports import languages
    from mailmoat.settings import load, warnings
    from mailmoat.supervisor import preflight

    try:
        settings = load(config)
        preflight.check(settings)
        lists.examine(settings)
        entries = [*examine(settings), *preflight.certificates(settings)]
        sender_file.examine(settings)
        languages.examine(settings)
    except ConfigError as error:
        if not as_json:
            complain(error)
        print_json({"ok": False, "mistakes": error.mistakes, "warnings": []})
        raise typer.Exit(1) from None
    found = [*warnings(settings), *preflight.warnings(settings), *entries]
    if as_json:
        print_json({"ok": True, "mistakes": [], "warnings": found})
        return
    for warning in found:
        typer.echo(f"warning: {warning}")
    count = f"; {len(found)} warning{'s'[: len(found) > 1]}" if found else ""
    typer.echo(f"The settings can be used{count}.")
