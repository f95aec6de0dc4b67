"""What a source says of itself while it is read, for the administrator: shown in its freshness, and logged when it is new.

Promises: a source that says the same in every read is logged once. No more than `MOST_EXAMPLES` of what was left out are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat import maillog
from mailmoat.directory.freshness import SyncState
from mailmoat.directory.source import Kept, LeftOut, Remark, Using
from mailmoat.events import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.directory.freshness import SourceFreshness

MOST_EXAMPLES: Final = 5
"""Of what was left out, that are kept."""


class Notes:
    """Those of the source that `freshness` is about; `noted` is called when they are to be shown at once."""

    def __init__(self, freshness: SourceFreshness, noted: Callable[[], None]) -> None:
        self._freshness, self._noted = freshness, noted
        self._left_out: tuple[LeftOut, ...] = ()
        """The last that were logged."""
        self._remark = ""
        """The last one."""

    def go_on(self, before: SourceFreshness) -> None:
        """Take over what the last full read left out."""
        self._freshness.left_out = before.left_out
        self._freshness.left_out_examples = before.left_out_examples

    def begin(self) -> None:
        """Forget what the last full read left out: a new one begins."""
        self._freshness.left_out, self._freshness.left_out_examples = 0, ()

    def take(self, step: Using | LeftOut | Kept | Remark) -> None:
        """Show what a step says, and log it if it is new."""
        match step:
            case Using(server=server, passed_over=passed_over):
                self._log_passed_over(server, passed_over)
                self._freshness.server, self._freshness.passed_over = server, passed_over
                self._noted()
            case LeftOut(entries=entries, example=example):
                self._freshness.left_out += entries
                self._freshness.left_out_examples = (*self._freshness.left_out_examples, example)[:MOST_EXAMPLES]
                if step not in self._left_out:  # a source that is read whole again and again says it each time
                    maillog.event(
                        Event.DIRECTORY_LEFT_OUT, source=self._freshness.name, entries=entries, detail=example
                    )
                    self._left_out = (*self._left_out, step)[-2 * MOST_EXAMPLES :]
            case Kept(entries=entries, why=why):
                if entries and not self._freshness.kept:
                    maillog.event(Event.DIRECTORY_REMARK, source=self._freshness.name, detail=why)
                self._freshness.kept, self._freshness.kept_why = entries, why
                self._noted()
            case Remark(sentence=sentence):
                if sentence != self._remark:
                    maillog.event(Event.DIRECTORY_REMARK, source=self._freshness.name, detail=sentence)
                self._remark = sentence

    def _log_passed_over(self, server: str, passed_over: tuple[str, ...]) -> None:
        """Log that a source is read from another server than the preferred one, once, and that it is no longer."""
        before = self._freshness
        if passed_over and server != before.server:
            maillog.event(
                Event.DIRECTORY_REMARK,
                source=self._freshness.name,
                detail=f"{'; '.join(passed_over)}; {server} is read in its place",
            )
        elif before.passed_over and not passed_over and before.state is SyncState.CURRENT:
            maillog.event(Event.DIRECTORY_SOURCE_BACK, source=self._freshness.name, server=server)
