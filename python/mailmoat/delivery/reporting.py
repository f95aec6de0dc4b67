"""Decides with the governor on the reports that jobs ask for, and puts them into the spool, where they are messages like any other.

Promises: the caller is called back exactly once with what follows, when the report is on disk or could not be stored. Whatever goes wrong
here leaves the report owed and costs its message an attempt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat import maillog
from mailmoat.mailauth.stored_results import decode
from mailmoat.policy.client import TrustRules
from mailmoat.reports import governor
from mailmoat.reports.make import ReportMaker

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat._native import Message
    from mailmoat.delivery.follows import Follows, ReportFirst
    from mailmoat.delivery.job import Job
    from mailmoat.runtime.spool import SpoolStore
    from mailmoat.settings import Settings


class Reporter:
    """Makes and stores the reports of one worker."""

    def __init__(self, spool: SpoolStore, settings: Settings) -> None:
        self._spool = spool
        self._settings = settings
        self._trust = TrustRules(settings)
        self._maker = ReportMaker(settings)

    def report(self, job: Job, wanted: ReportFirst, then: Callable[[Follows], None]) -> None:
        """Make a report, where one is allowed, and store it; `then` is called with what follows for the job."""
        try:
            verdict = self._judge(job.message)
            if isinstance(verdict, governor.Allowed):
                queue_id = self._spool.next_queue_id()
                made = self._maker.make(job.message, wanted.kind, wanted.recipients, verdict, queue_id)
                self._spool.insert(_Insert(job, wanted, made, then), made)
                return
        except Exception as error:  # noqa: BLE001 - the joint: a mistake of ours must not lose the message's place in the queue
            follows = job.not_reported(wanted, maillog.describe(error))
        else:
            follows = job.suppressed(wanted, verdict)
        then(follows)

    def _judge(self, message: Message) -> governor.Allowed | governor.Suppressed:
        settings = self._settings
        return governor.judge(
            message.reverse_path,
            enabled=settings.ndr.enabled,
            copy_to=settings.ndr.copy_to,
            results=decode(message.results),
            domains=settings.relay.local_domains + settings.relay.unfiltered_domains,
            trusted=self._trust.of(message.client).internal,
        )


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
        wanted = self._wanted
        self._then(job.reported(self._made, wanted) if error is None else job.not_reported(wanted, error))
