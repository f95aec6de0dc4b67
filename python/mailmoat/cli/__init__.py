"""The command line: one file a command group. Nothing heavy is imported before a command runs, so that `--help` answers at once.

Status 0: fine. 1: the checked thing is wrong, or the command failed. 2: the command line is wrong.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mailmoat import __version__


def main() -> None:
    """Run the command that was typed and exit with its status."""
    from mailmoat.cli import streams

    if "serve" in sys.argv[1:]:
        from mailmoat.supervisor import signals

        signals.keep_for_later()
    streams.prepare()
    try:
        application()(prog_name="mailmoat")
    finally:
        streams.finish()


def application() -> typer.Typer:
    """Put the commands together."""
    from mailmoat.cli import lists
    from mailmoat.cli.check import check_config
    from mailmoat.cli.mx import mx
    from mailmoat.cli.reflexes import Group
    from mailmoat.cli.relay_test import relay_test
    from mailmoat.cli.route import route
    from mailmoat.cli.serve import serve
    from mailmoat.cli.settings import settings
    from mailmoat.cli.status import reload, status
    from mailmoat.cli.trace import trace

    app = typer.Typer(
        name="mailmoat",
        cls=Group,
        callback=_options,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    app.command("serve")(serve)
    app.command("check-config")(check_config)
    app.command("status")(status)
    app.command("reload")(reload)
    app.command("settings")(settings)
    app.command("relay-test")(relay_test)
    app.command("route")(route)
    app.command("mx")(mx)
    app.command("trace")(trace)
    for name, text in lists.GROUPS.items():
        app.add_typer(lists.application(name, text), name=name)
    for words, group in _groups().items():
        app.add_typer(group, name=words)
    return app


def _groups() -> dict[str, typer.Typer]:
    """Return the groups of commands that have a file each, by their names."""
    from mailmoat.cli import (
        accounts,
        directory,
        dns_lists,
        limits,
        queue,
        recipients,
        reputation,
        senderid,
        senders,
        spf,
        tls,
    )

    return {
        "user": accounts.app,
        "directory": directory.app,
        "limits": limits.app,
        "queue": queue.app,
        "recipients": recipients.app,
        "reputation": reputation.app,
        "senders": senders.app,
        "senderid": senderid.app,
        "dns-lists": dns_lists.app,
        "spf": spf.app,
        "tls": tls.app,
    }


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
