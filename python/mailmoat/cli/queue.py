"""`mailmoat queue list`: the messages in the spool. Reads the partitions while the server owns them and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, fail, plain, print_json, settings_in_force, span
from mailmoat.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mailmoat._native import Recipient, SpoolEntry

app = typer.Typer(help="Show the messages in the queue.", no_args_is_help=True)

CLOSED = "failed and reported"
"""How a recipient is shown that nothing more is done for; the others are shown by the name of their state."""


@app.callback()
def group() -> None:
    """Show the messages in the queue."""


@app.command("list")
def list_messages(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """List the messages in the spool, also while the server runs."""
    from mailmoat import _native, clock

    spool_dir = settings_in_force(config).spool_dir
    try:
        messages: Sequence[SpoolEntry] = sorted(
            _native.list_spool(str(spool_dir)), key=lambda message: message["arrival"]
        )
        newer = _native.newer_partitions(str(spool_dir))
    except OSError as error:
        fail(f"the spool {spool_dir} cannot be read: {plain(error)}")
    for tag, messages_there in newer:
        many = "messages" if messages_there is None else f"{messages_there} messages"
        typer.echo(f"partition {tag}: {many} of a later version of mailmoat; only that version can read them", err=True)
    if as_json:
        print_json([_document(message) for message in messages])
        return
    for message in messages:
        for line in _lines(message, clock.wall_ms()):
            typer.echo(line)
    if messages:
        typer.echo(f"\n{len(messages)} {'message' if len(messages) == 1 else 'messages'}")
    else:
        typer.echo("No other message is in the spool." if newer else "The spool is empty.")


def _document(message: SpoolEntry) -> dict[str, object]:
    recipients = [
        {
            "address": one.address,
            "state": _state(one),
            "reply": one.reply,
            "due": one.due,
            "attempts": one.attempts,
            "next_hop": one.next_hop,
        }
        for one in message["recipients"]
    ]
    return {**message, "due": _due(message), "attempts": _attempts(message), "recipients": recipients}


def _state(recipient: Recipient) -> str:
    return CLOSED if recipient.state.name == "CLOSED" else recipient.state.name.lower()


def _due(message: SpoolEntry) -> int:
    """Return when the next of its recipients is tried."""
    due = [one.due for one in message["recipients"] if one.is_open]
    return min(due, default=message["arrival"])


def _attempts(message: SpoolEntry) -> int:
    """Return the highest number of attempts for one of its recipients."""
    return max((one.attempts for one in message["recipients"]), default=0)


def _lines(message: SpoolEntry, now: int) -> Iterator[str]:
    """Yield the lines about a message: its state, its sender, and each recipient.

    Nothing is cut or wrapped: a terminal wraps what is too wide, and a script finds a line whole.
    """
    attempts = _attempts(message)
    yield (
        f"{message['queue_id']}  age {span(now - message['arrival'])}  {message['size']} octets  "
        f"{attempts} {'attempt' if attempts == 1 else 'attempts'}  {_next(message, now)}"
    )
    yield printable(f"    from <{message['reverse_path']}>")
    for one in message["recipients"]:
        yield printable(f"    to {one.address}: {_state(one)}{f': {one.reply}' if one.reply else ''}")


def _next(message: SpoolEntry, now: int) -> str:
    if not message["owned"]:
        return "next when a worker takes it"
    due = _due(message)
    return "next now" if due <= now else f"next in {span(due - now)}"
