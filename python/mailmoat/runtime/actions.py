"""What an administrator does with a message in the spool: values that a command sends to the owner of the message, or carries out itself.

`perform` hands an action to the partition and returns at once; the waiter gets the end of it. Whoever performs one for a worker has taken the
message out of the queue in memory first, and puts it back as `waits_after` says. Never reads a clock.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

import msgspec

from mailmoat._native import Held, normalise_address

if TYPE_CHECKING:
    from mailmoat._native import Partition

MOST_IDS: Final = 250
"""Messages that one request names. While 50,000 were released, a new client waited for its greeting at most 162 ms with 1,000 of them
in a request and 2 ms with 250, and the whole took 2.4 and 1.0 s (one worker, a busy machine)."""
_REPLY: Final = re.compile(r"5\d\d 5\.\d{1,3}\.\d{1,3} [ -~]+")
LONGEST_REPLY: Final = 400
MOST_ADDRESSES: Final = 100
"""That a message is redirected to."""


class Retry(msgspec.Struct, frozen=True, tag="retry"):
    """Try it now."""


class Hold(msgspec.Struct, frozen=True, tag="hold"):
    """Try it no more until it is released."""


class Release(msgspec.Struct, frozen=True, tag="release"):
    """End that, and try it now."""


class Remove(msgspec.Struct, frozen=True, tag="remove"):
    """Delete it; no report is made."""


class Bounce(msgspec.Struct, frozen=True, tag="bounce"):
    """Fail all recipients that wait; the sender gets a report."""

    reply: str
    """As a next hop would have said it: code, enhanced status code, text."""

    def __post_init__(self) -> None:
        """Refuse a reply that a report could not give. ValueError."""
        if not _REPLY.fullmatch(self.reply) or len(self.reply) > LONGEST_REPLY:
            raise ValueError(
                f"{self.reply!r}: not a reply such as 554 5.0.0 TEXT in ASCII, {LONGEST_REPLY} characters at most"
            )


class Redirect(msgspec.Struct, frozen=True, tag="redirect"):
    """Send what waits to other recipients, or to a next hop; with neither where the routes say."""

    to: tuple[str, ...] = ()
    next_hop: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no address. ValueError."""
        if self.to and self.next_hop:
            raise ValueError("either addresses or a next hop")
        if len(self.to) > MOST_ADDRESSES:
            raise ValueError(f"more than {MOST_ADDRESSES} addresses")
        for address in self.to:
            if normalise_address(address) != address:
                raise ValueError(f"{address!r}: not in its normal form")


Action: TypeAlias = Retry | Hold | Release | Remove | Bounce | Redirect


def parse(document: object) -> Action:
    """Return the action of a request; ValueError with a plain sentence."""
    try:
        action: Action = msgspec.convert(document, type=Action)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    return action


def perform(partition: Partition, waiter: object, queue_id: str, action: Action, now_ms: int) -> None:
    """Hand an action to the partition that has the message; `waiter` is given the end of it. ValueError, OSError: as the partition's."""
    match action:
        case Retry():
            partition.retry(waiter, queue_id, due=now_ms)
        case Hold():
            partition.hold(waiter, queue_id, Held.OPERATOR)
        case Release():
            partition.release(waiter, queue_id)
        case Remove():
            partition.remove(queue_id, waiter)
        case Bounce():
            partition.fail(waiter, queue_id, action.reply, due=now_ms)
        case Redirect():
            recipients = list(action.to)
            partition.redirect(waiter, queue_id, due=now_ms, recipients=recipients, next_hop=action.next_hop)
        case _:
            assert_never(action)


def name_of(action: Action) -> str:
    """Return what the log calls an action."""
    return type(action).__name__.lower()


def described(action: Action) -> str:
    """Return what the log says of an action beside its name: the reply of a bounce, the target of a redirection."""
    match action:
        case Bounce():
            return action.reply
        case Redirect():
            return ", ".join(action.to) or action.next_hop or "where the routes say"
        case _:
            return ""


def waits_after(action: Action, *, before: bool) -> bool:
    """Return whether a message is to be tried after an action that has succeeded; `before`: it was in the schedule."""
    match action:
        case Hold() | Remove():
            return False
        case Release() | Bounce():
            return True
        case Retry() | Redirect():
            return before
        case _:
            assert_never(action)
