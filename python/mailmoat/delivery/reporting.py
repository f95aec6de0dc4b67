"""Puts the reports that jobs ask for into the spool, where they become messages like any other.

Promises: the caller is called back exactly once with what follows, when the report is on disk or could not be stored. Whatever goes wrong
here leaves the report owed and costs its message an attempt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat import maillog
from mailmoat.reports import make

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat._native import Message
    from mailmoat.delivery.job import Follows, Job, ReportFirst
    from mailmoat.runtime.spool import SpoolStore
    from mailmoat.settings import Settings


class Reporter:
    """Makes and stores the reports of one worker."""

    def __init__(self, spool: SpoolStore, settings: Settings) -> None:
        self._spool = spool
        self._settings = settings

    def report(self, job: Job, wanted: ReportFirst, then: Callable[[Follows], None]) -> None:
        """Make a report and store it; `then` is called with what follows for the job."""
        try:
            queue_id = self._spool.next_queue_id()
            made = make.make(job.message, wanted.failures, wanted.allowed, queue_id, self._settings)
            self._spool.insert(_Insert(job, wanted, made, then), made)
        except Exception as error:  # noqa: BLE001 - the joint: a mistake of ours must not lose the message's place in the queue
            then(job.not_reported(maillog.describe(error)))


class _Insert:
    """Waits for a report to be on disk."""

    __slots__ = ("_job", "_made", "_then", "_wanted")

    def __init__(self, job: Job, wanted: ReportFirst, made: Message, then: Callable[[Follows], None]) -> None:
        self._job = job
        self._wanted = wanted
        self._made = made
        self._then = then

    def done(self, error: str | None, _message: Message | None) -> None:
        """Take the result of storing the bounce."""
        job = self._job
        self._then(job.reported(self._made, self._wanted.failures) if error is None else job.not_reported(error))
