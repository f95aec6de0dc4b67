"""How commands find and read the log of the server: `--log`, or where the running server writes it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from mailmoat.cli.options import fail, plain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mailmoat.tracing.sources import LogSource

LogOption = Annotated[
    list[str] | None,
    typer.Option(
        "--log",
        metavar="FILE",
        help="The log, also compressed; - is standard input; may be given again. Default: where the server writes to.",
    ),
]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Of the journal only what is later: as journalctl has it.")
]


def sources_of(spool_dir: Path, logs: list[str] | None, since: str | None) -> list[LogSource]:
    """Return where the log is. LogError: that is not known."""
    from mailmoat.cli.status import find
    from mailmoat.tracing import sources

    return sources.named(logs, since) if logs else sources.of_server(find(spool_dir), since)


@contextmanager
def reading_log() -> Iterator[None]:
    """Find and read a log; end the command when that cannot be."""
    from mailmoat.tracing.sources import LogError

    try:
        yield
    except LogError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or 'the log'} cannot be read: {plain(error)}")
