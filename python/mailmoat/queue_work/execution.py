"""Carries an action out on many messages: by the worker that owns them, or, where nobody does, under the lock of their partition.

Promises: what is counted as done is on disk. Messages go in portions, so that neither side keeps more than one of them in memory and a worker goes on with its
mail between two. A process that is killed has done whole portions or parts of one, and never half of an action. Raises ControlError with a sentence
for an administrator when a worker refuses or does not answer, OSError when a partition cannot be opened.
"""

from __future__ import annotations

import select
from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat._native import NO_MESSAGE, Partition, SealedPartition
from mailmoat.control import client
from mailmoat.control.channel import ControlError
from mailmoat.runtime import command_notes
from mailmoat.runtime.actions import MOST_IDS, Retry, described, name_of, perform
from mailmoat.runtime.command_notes import CommandNote
from mailmoat.runtime.queue_id import partition_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from mailmoat.control.channel import Document
    from mailmoat.runtime.actions import Action

PATIENCE: Final = 15.0
"""Seconds for a worker to begin or end, while it owns a partition and answers nothing."""
LOOK_MS: Final = 200


@dataclass(slots=True)
class Report:
    """What became of the messages."""

    done: int = 0
    gone: list[str] = field(default_factory=list)
    """Not, or no longer, in the spool."""
    waiting: list[str] = field(default_factory=list)
    """In an attempt: the worker does it when that has ended."""
    failed: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    offline: int = 0
    """How many of them no server had."""
    not_noted: str = ""
    """Why the log of the next server will not have what was done without one; empty when it will."""

    def take(self, answer: Document) -> None:
        """Add the answer of a worker about a portion."""
        self.done += answer["done"]
        self.gone += answer["gone"]
        self.waiting += answer["waiting"]
        self.failed += answer["failed"]
        self.errors.update(answer["errors"])


def execute(
    spool_dir: Path, action: Action, queue_ids: Iterable[str], progress: Callable[[int], None], report: Report
) -> None:
    """Do an action with messages, in their order; `progress` is given the number of each portion that has ended.

    What is done is in `report`, also after an exception.
    """
    for tag, of_partition in groupby(queue_ids, partition_of):
        work = _Work(spool_dir, tag, action, report)
        try:
            for portion in _portions(of_partition):
                work.do(portion)
                progress(len(portion))
        finally:
            work.close()


def _portions(queue_ids: Iterable[str]) -> Iterable[list[str]]:
    portion: list[str] = []
    for queue_id in queue_ids:
        portion.append(queue_id)
        if len(portion) == MOST_IDS:
            yield portion
            portion = []
    if portion:
        yield portion


class _Work:
    """What is done with the messages of one partition."""

    def __init__(self, spool_dir: Path, tag: str, action: Action, report: Report) -> None:
        self._spool_dir, self._tag = spool_dir, tag
        self._action, self._report = action, report
        self._own: Partition | None = None
        """The partition, while this process owns it."""

    def do(self, portion: list[str]) -> None:
        """Let its owner do it, or become the owner and do it."""
        deadline = clock.monotonic() + PATIENCE
        while self._own is None:
            answer = client.ask_owner(self._spool_dir, self._tag, "queue.act", action=self._action, queue_ids=portion)
            if answer is not None:
                self._report.take(answer)
                return
            claimed = Partition.claim(str(self._spool_dir), self._tag)
            if isinstance(claimed, SealedPartition):
                raise ControlError(
                    f"partition {self._tag} is of a later version of mailmoat: use the command of that version"
                )
            self._own = claimed
            if claimed is None and not (self._spool_dir / "partitions" / self._tag).exists():
                self._report.gone += portion
                return
            if claimed is None:
                self._wait(deadline)
        self._do_ourselves(self._own, portion)

    def close(self) -> None:
        """Give the partition up again, for the next server."""
        if self._own is not None:
            self._own.close()

    def _wait(self, deadline: float) -> None:
        """Give its owner time to listen, or to go. ControlError when the time is over."""
        if clock.monotonic() >= deadline:
            raise ControlError(
                f"the process that owns partition {self._tag} does not answer: it is starting, ending, or a command like this one; try again"
            )
        select.poll().poll(LOOK_MS)

    def _do_ourselves(self, partition: Partition, portion: Sequence[str]) -> None:
        now, done = clock.wall_ms(), []
        for queue_id in portion:
            perform(partition, queue_id, queue_id, self._action, now)
        open_ = len(portion)
        while open_:
            select.select([partition.descriptor], [], [])
            for waiter, error, _ in partition.completions():
                open_ -= 1
                if error is None:
                    done.append(str(waiter))
                else:
                    self._failed(str(waiter), error)
        self._report.done += len(done)
        self._report.offline += len(portion)
        if done and not isinstance(self._action, Retry):  # a worker logs no retry either, but for the attempt
            self._note(CommandNote(now, name_of(self._action), described(self._action), tuple(done)))

    def _note(self, note: CommandNote) -> None:
        """Leave a note for the log; a disk that is full does not keep anybody from removing messages."""
        try:
            command_notes.leave(self._spool_dir, note)
        except OSError as error:
            self._report.not_noted = error.strerror or str(error)

    def _failed(self, queue_id: str, error: str) -> None:
        if error.startswith(NO_MESSAGE):
            self._report.gone.append(queue_id)
        else:
            self._report.failed.append(queue_id)
            self._report.errors[error] += 1
