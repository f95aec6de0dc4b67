"""`mailmoat serve`: the server in the foreground; `--demo` for trying it out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mailmoat.cli.options import ConfigOption, complain, fail

DemoOption = Annotated[
    bool, typer.Option("--demo", help="Try it out with sample settings and recipients; all files are in ./var.")
]


def serve(config: ConfigOption = None, *, demo: DemoOption = False) -> None:
    """Run the server until SIGTERM; SIGHUP reads the settings again."""
    if demo and config:
        raise typer.BadParameter("--demo brings its own settings file: leave one of the two out", param_hint="--config")
    from mailmoat import demo as sample
    from mailmoat.delivery import route_lint
    from mailmoat.errors import ConfigError
    from mailmoat.settings import Settings, load, warnings

    def read() -> Settings:
        return load(sample.settings_file(), base=Path.cwd()) if demo else load(config)

    try:
        settings = read()
        if demo:
            sample.lay_out(settings)
    except ConfigError as error:
        complain(error)
    except OSError as error:
        fail(f"the sample recipients cannot be written: {error.filename}: {error.strerror}")
    for warning in [*warnings(settings), *route_lint.warnings(settings)]:
        typer.echo(f"warning: {warning}", err=True)
    from mailmoat import maillog, worker
    from mailmoat.admin import process
    from mailmoat.directory_process import start as directory_process
    from mailmoat.supervisor import supervisor
    from mailmoat.supervisor.context import Programs

    if demo:
        typer.echo(sample.what_to_type(settings))
    status = supervisor.run(settings, read, Programs(worker.run, process.run, directory_process.run))
    maillog.close()
    raise typer.Exit(status)
