"""`mailmoat queue export` and `mailmoat queue import`: messages out of the queue into files, and back."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - read when the command is made
from typing import TYPE_CHECKING, Annotated

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, fail, plain, print_json, settings_in_force
from mailmoat.cli.progress import Progress
from mailmoat.cli.queue_selection import AllOption, DryRunOption, Selection, need, queue_ids_of, reading, with_selection
from mailmoat.printable import printable

if TYPE_CHECKING:
    from mailmoat.queue_work.transfer import Exported


@with_selection
def export(
    selection: Selection,
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="Where the files go; made if it is missing.")],
    config: ConfigOption = None,
    *,
    everything: AllOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Copy messages into files, one for each, with envelope and content. They stay in the queue: exit 1 if one was not there."""
    need(selection, everything=everything)
    spool_dir = settings_in_force(config).spool_dir
    with reading(spool_dir):
        queue_ids = queue_ids_of(selection, spool_dir)
    if dry_run:
        selected = {"dry_run": True, "selected": len(queue_ids)}
        print_json(selected) if as_json else typer.echo(f"{len(queue_ids)} messages would be exported.")
        return
    done = _export(spool_dir, directory, queue_ids)
    if as_json:
        print_json(
            {
                "dry_run": False,
                "selected": len(queue_ids),
                "exported": done.written,
                "gone": done.gone,
                "damaged": done.damaged,
            }
        )
    else:
        typer.echo(
            f"{len(done.written)} {'message' if len(done.written) == 1 else 'messages'} exported to {directory}."
        )
    for queue_id, reason in done.damaged.items():
        typer.echo(printable(f"{queue_id} is damaged: {reason}"), err=True)
    if done.gone:
        fail(f"not, or no longer, in the queue: {' '.join(done.gone)}")
    if done.damaged:
        raise typer.Exit(1)


def _export(spool_dir: Path, directory: Path, queue_ids: list[str]) -> Exported:
    from mailmoat.queue_work import transfer

    try:
        with Progress("messages", len(queue_ids)) as progress:
            return transfer.export(spool_dir, directory, queue_ids, progress.advance)
    except FileExistsError as error:
        fail(f"{error.filename} is there already: name another directory, or delete it")
    except OSError as error:
        fail(f"{error.filename or directory}: {plain(error)}")


def import_(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Exported files, or directories that they were exported to.")
    ],
    config: ConfigOption = None,
    *,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put exported messages into the queue, all of them or, if a file is damaged, none. Each gets a new queue ID."""
    from mailmoat.queue_work import transfer

    spool_dir = settings_in_force(config).spool_dir
    try:
        found = transfer.paths_of(paths)
        with Progress("messages", len(found)) as progress:
            imported = transfer.import_(spool_dir, found, progress.advance, check=dry_run)
    except transfer.TransferError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or spool_dir}: {plain(error)}; nothing was imported")
    if as_json:
        print_json({"dry_run": dry_run, "imported": imported})
        return
    many = f"{len(imported)} {'message' if len(imported) == 1 else 'messages'}"
    typer.echo(
        f"{many} can be imported." if dry_run else f"{many} imported; a running server takes them within a second."
    )
