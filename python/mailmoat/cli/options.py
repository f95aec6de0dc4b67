"""What the commands have in common: `--config`, `--json`, and exit status 1 for a failure.

Imports nothing heavy: `mailmoat --help` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from mailmoat.printable import printable_json

if TYPE_CHECKING:
    from mailmoat.errors import ConfigError
    from mailmoat.settings import Settings

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Settings file (TOML). Default: MAILMOAT_CONFIG, else /etc/mailmoat/mailmoat.toml if it exists.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def fail(text: str) -> NoReturn:
    """Say what is wrong and end with status 1."""
    typer.echo(f"mailmoat: {text}", err=True)
    raise typer.Exit(1)


def plain(error: OSError) -> str:
    """Return what went wrong, without numbers."""
    return (error.strerror or str(error)).partition(" (os error ")[0]


def print_json(document: object) -> None:
    """Print one JSON document on standard output."""
    typer.echo(printable_json(document))


def complain(error: ConfigError) -> NoReturn:
    """Print all mistakes, one per line, and end with status 1."""
    for mistake in error.mistakes:
        typer.echo(f"mistake: {mistake}", err=True)
    fail(f"{len(error.mistakes)} {'mistake' if len(error.mistakes) == 1 else 'mistakes'} in the settings")


def settings_in_force(config: Path | None) -> Settings:
    """Return the settings, or print all mistakes in them and end with status 1."""
    from mailmoat.errors import ConfigError
    from mailmoat.settings import load

    try:
        return load(config)
    except ConfigError as error:
        complain(error)


def settings_with_sources(config: Path | None) -> Settings:
    """Return the settings as `settings_in_force`; end with status 1 where this account may not read what is known of the sources of recipients.

    To whom the spool directory is closed, it would look as if nothing was ever read.
    """
    from mailmoat.directory.paths import freshness_path

    settings = settings_in_force(config)
    if settings.directories:
        try:
            freshness_path(settings.spool_dir).open().close()
        except PermissionError as error:
            fail(f"{error.filename}: {error.strerror}; run this as root or as the server's account")
        except OSError:
            pass  # nothing was read yet
    return settings
