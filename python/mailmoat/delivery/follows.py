"""What follows from an attempt, as a job returns it and the queue carries it out."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mailmoat._native import AttemptRow, Message, Outcome
    from mailmoat.delivery.route import Route
    from mailmoat.reports.kind import ReportKind
    from mailmoat.reports.report import ReportedRecipient


class Ended(msgspec.Struct, frozen=True):
    """Every recipient of the group is delivered or closed."""

    outcomes: list[Outcome]
    """For the spool."""


class RetryAt(msgspec.Struct, frozen=True):
    """Some recipients are tried or reported again."""

    outcomes: list[Outcome]
    """For the spool."""
    due: int
    """Milliseconds since the epoch."""
    stranded: bool
    """The next hop was away or went away: due earlier if that answers earlier."""
    attempt: AttemptRow | None
    """How it was tried, where it was."""
    reported: list[int]
    """Places of the recipients whose delay is reported now, or must not be."""
    reports_alone: bool
    """Nothing waits but reports that could not be made yet."""
    delayed: bool
    """No delay of a recipient that waits is to be reported later."""


class ReportFirst(msgspec.Struct, frozen=True):
    """A report of one kind has to be in the spool before anything else.

    `reported`, `suppressed`, `not_reported` or `postponed` then returns what follows, which may be the next report.
    """

    kind: ReportKind
    recipients: list[ReportedRecipient]


Follows: TypeAlias = Ended | RetryAt | ReportFirst

PassedOn: TypeAlias = "Callable[[Route, Message, Sequence[Outcome]], frozenset[int]]"
"""Returns the places of recipients that a server has just failed by a route and that are tried elsewhere: see `Router`."""
