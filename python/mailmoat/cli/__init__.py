"""The command line: one file a command group. Nothing heavy is imported before a command runs, so that `--help` answers at once.

Status 0: fine. 1: the checked thing is wrong, or the command failed. 2: the command line is wrong.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Final

import typer

from mailmoat import __version__
from mailmoat.cli.reflexes import Group

COMMANDS: Final = {
    "serve": "serve.serve",
    "check-config": "check.check_config",
    "status": "status.status",
    "reload": "status.reload",
    "settings": "settings.settings",
    "relay-test": "relay_test.relay_test",
    "route": "route.route",
    "mx": "mx.mx",
    "trace": "trace.trace",
}
"""The function of each command, by its file."""
GROUPS: Final = {
    "user": "accounts.app",
    "directory": "directory.app",
    "limits": "limits.app",
    "queue": "queue.app",
    "recipients": "recipients.app",
    "reputation": "reputation.app",
    "senders": "senders.app",
    "senderid": "senderid.app",
    "dns-lists": "dns_lists.app",
    "spf": "spf.app",
    "tls": "tls.app",
}
"""The groups of commands that have a file of their own."""


def main() -> None:
    """Run the command that was typed and exit with its status."""
    from mailmoat.cli import streams

    if "serve" in sys.argv[1:]:
        from mailmoat.supervisor import signals

        signals.keep_for_later()
    streams.prepare()
    try:
        application(*sys.argv[1:2])(prog_name="mailmoat")
    finally:
        streams.finish()


def application(first: str = "") -> typer.Typer:
    """Put the commands together; where the first word that was typed is one of them, it alone: all of them cost 0.1 s."""
    app = typer.Typer(
        name="mailmoat",
        cls=Group,
        callback=_options,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    if first in COMMANDS or first in GROUPS:
        _add(app, first)
        return app
    from mailmoat.cli import lists

    for name in COMMANDS:
        _add(app, name)
    for listed, text in lists.GROUPS.items():
        app.add_typer(lists.application(listed, text), name=listed)
    for name in GROUPS:
        _add(app, name)
    return app


def _add(app: typer.Typer, name: str) -> None:
    file, _, found = (COMMANDS | GROUPS)[name].partition(".")
    command = getattr(import_module(f"mailmoat.cli.{file}"), found)
    if name in GROUPS:
        app.add_typer(command, name=name)
    else:
        app.command(name)(command)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - called by typer
    if wanted:
        typer.echo(f"mailmoat {__version__}")
        raise typer.Exit


def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Receive mail at the edge: refuse to relay, slow down address harvesting, queue accepted mail and deliver it."""
