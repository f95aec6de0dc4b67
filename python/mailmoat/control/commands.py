"""The commands of the control socket, in one tuple.

A command is a function from what the worker has and the arguments of the request to a result that JSON can hold, or to an awaitable of one.
What is wrong with its arguments is a ControlError. What it reads or changes in shared memory is that of the host, so any worker may be asked;
what it does with messages concerns the partitions of its worker alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from mailmoat._native import Prefix
from mailmoat.control import queue
from mailmoat.control.channel import ControlError
from mailmoat.reputation import shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mailmoat.control.channel import Document
    from mailmoat.control.queue import QueueControl
    from mailmoat.limits.rates import LocalRates
    from mailmoat.metrics import Metrics

MOST_SHOWN: Final = 1000
"""Rows of one table in an answer; the others are counted."""


@dataclass(frozen=True, slots=True)
class Context:
    """What commands can use of a worker."""

    rates: LocalRates
    metrics: Metrics
    queue: QueueControl


def show_limits(context: Context, arguments: Document) -> Document:
    """Return who has spent something of a rate, and the connections that are open, in `prefix` and around it or everywhere."""
    prefix = _prefix(arguments)
    standings, limits_left_out = context.rates.show(prefix, MOST_SHOWN)
    connections, connections_left_out = context.metrics.shared.source_counts(prefix, MOST_SHOWN)
    return {
        "limits": [
            {
                "class": one.kind,
                "prefix": one.prefix,
                "used": one.used,
                "burst": one.burst,
                "wait": one.wait,
                "rest": one.rest,
                "spent": one.spent,
            }
            for one in standings
        ],
        "limits_left_out": limits_left_out,
        "connections": [{"prefix": one, "connections": count} for one, count in connections],
        "connections_left_out": connections_left_out,
    }


def reset_limits(context: Context, arguments: Document) -> Document:
    """Forget what was spent in `prefix` and around it; without one, everywhere."""
    return {"cleared": context.rates.reset(_prefix(arguments))}


def show_reputation(context: Context, arguments: Document) -> Document:
    """Return what is remembered of the sources in `prefix` and around it, or of all."""
    return shown.show(context.metrics.shared, _prefix(arguments), MOST_SHOWN)


def reset_reputation(context: Context, arguments: Document) -> Document:
    """Forget the sources in `prefix` and around it, or all."""
    return shown.reset(context.metrics.shared, _prefix(arguments))


def _prefix(arguments: Document) -> Prefix | None:
    text = arguments.get("prefix")
    if text is None:
        return None
    if not isinstance(text, str):
        raise ControlError(f"{text!r}: not a text")
    try:
        return Prefix(text)
    except ValueError as error:
        raise ControlError(f"{text!r}: {error}") from None


def act_on_messages(context: Context, arguments: Document) -> Awaitable[Document]:
    """Do one thing with the messages named in `queue_ids`: see `control/queue.py`."""
    return queue.act(context.queue, arguments)


def show_destinations(context: Context, _arguments: Document) -> Document:
    """Return the destinations of the worker, with what is in memory for each."""
    return context.queue.destinations()


Command: TypeAlias = "Callable[[Context, Document], Document | Awaitable[Document]]"

COMMANDS: Final[tuple[tuple[str, Command], ...]] = (
    ("limits.show", show_limits),
    ("limits.reset", reset_limits),
    ("reputation.show", show_reputation),
    ("reputation.reset", reset_reputation),
    ("queue.act", act_on_messages),
    ("queue.destinations", show_destinations),
)


def commands_of(context: Context) -> dict[str, Callable[[Document], Document | Awaitable[Document]]]:
    """Return the commands of a worker by name, each for the arguments of a request."""
    return {name: partial(command, context) for name, command in COMMANDS}
