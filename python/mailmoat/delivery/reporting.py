"""Decides on the reports that jobs ask for, and puts them into the spool, where they are messages like any other.

In this order: the governor judges what is known of the message; a budget without room refuses; the domain of a sender outside is looked up;
a repeat to an address waits for the next report there (`folding`); the budgets are spent; the report is made and stored. Promises: the
caller is called back exactly once with what follows, at once or later from the loop. Whatever goes wrong here leaves the report owed and
costs its message an attempt; the DNS that does not answer refuses nothing.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from mailmoat import clock, maillog
from mailmoat._native import address_key
from mailmoat.events import Event
from mailmoat.mailauth.stored_results import decode
from mailmoat.policy.client import TrustRules
from mailmoat.policy.domain_lookups import Standing
from mailmoat.reports import governor
from mailmoat.reports.budgets import Budgets, Side
from mailmoat.reports.folded import fold
from mailmoat.reports.folding import Folds
from mailmoat.reports.governor import Suppressed
from mailmoat.reports.kind import ReportKind
from mailmoat.reports.make import ReportMaker
from mailmoat.reports.requests import asks_for_reports
from mailmoat.reports.status import status
from mailmoat.settings.copies import address_for

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from mailmoat._native import Message
    from mailmoat.delivery.follows import Follows, ReportFirst
    from mailmoat.delivery.job import Job
    from mailmoat.metrics import Metrics
    from mailmoat.policy.domain_lookups import DomainLookups
    from mailmoat.reports.folding import Key
    from mailmoat.runtime.spool import SpoolStore
    from mailmoat.settings import Settings

REFUSED_FOR: Final = {
    Standing.ABSENT: Suppressed.NO_DOMAIN,
    Standing.NO_RECORDS: Suppressed.NO_DOMAIN,
    Standing.NO_MAIL: Suppressed.NO_MAIL,
}
"""What the DNS says of a domain to which no report goes."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """A report that a job asks for, and what is known of it."""

    job: Job
    wanted: ReportFirst
    then: Callable[[Follows], None]
    allowed: governor.Allowed
    side: Side
    address: str
    """The reverse-path, in the form in which addresses are compared."""
    key: Key
    folds: bool
    """It may be named in a report about another message, or name others."""


class Reporter:
    """Makes and stores the reports of one worker; `lookups` is None where domains are not looked up."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        spool: SpoolStore,
        settings: Settings,
        metrics: Metrics,
        lookups: DomainLookups | None = None,
    ) -> None:
        self._loop = loop
        self._spool = spool
        self._settings = settings
        self._trust = TrustRules(settings)
        self._maker = ReportMaker(settings)
        self._budgets = Budgets(settings.ndr, metrics)
        self._folds = Folds()
        self._lookups = lookups
        self._known = frozenset(settings.relay.local_domains + settings.relay.unfiltered_domains)
        self._lookups_running: set[asyncio.Task[Standing]] = set()

    def report(self, job: Job, wanted: ReportFirst, then: Callable[[Follows], None]) -> None:
        """Make a report, where one is allowed, and store it; `then` is called with what follows for the job."""
        try:
            verdict = self._judge(job.message, wanted)
            follows = job.suppressed(wanted, verdict) if isinstance(verdict, Suppressed) else None
            if isinstance(verdict, governor.Allowed):
                follows = self._consider(self._request(job, wanted, then, verdict))
        except Exception as error:  # noqa: BLE001 - the joint: a mistake of ours must not lose the message's place in the queue
            follows = job.not_reported(wanted, maillog.describe(error))
        if follows is not None:
            then(follows)

    def read_texts(self) -> None:
        """Read the texts of reports again."""
        self._maker.read_texts()

    def tick(self) -> None:
        """Work once a second."""
        self._budgets.tick()
        self._folds.tick(clock.monotonic())

    def close(self) -> None:
        """Ask for no domain any more: what waits for one is reported after the next start."""
        for task in self._lookups_running:
            task.cancel()

    def _judge(self, message: Message, wanted: ReportFirst) -> governor.Allowed | Suppressed:
        settings = self._settings
        statuses = (
            {status(recipient, wanted.kind) for recipient in wanted.recipients}
            if wanted.kind is ReportKind.FAILED
            else set()
        )
        copies = {address_for(settings.ndr.copy_to, each) for each in sorted(statuses)}
        return governor.judge(
            message.reverse_path,
            enabled=settings.ndr.enabled,
            copies=sorted(copy for copy in copies if copy),
            results=decode(message.results),
            domains=self._known,
            trusted=self._trust.of(message.client).internal,
        )

    def _request(
        self, job: Job, wanted: ReportFirst, then: Callable[[Follows], None], allowed: governor.Allowed
    ) -> Request:
        message = job.message
        results = decode(message.results)
        side = Side.VERIFIED if governor.vouched(results) else Side.OUTSIDE
        if self._trust.of(message.client).internal or governor.is_inside(results):
            side = Side.INSIDE
        outside_failure = side is not Side.INSIDE and wanted.kind is ReportKind.FAILED
        return Request(
            job,
            wanted,
            then,
            allowed,
            side,
            _compared(message.reverse_path),
            (message.queue_id, tuple(recipient.index for recipient in wanted.recipients)),
            outside_failure and self._settings.ndr.fold_time > 0 and not asks_for_reports(message, message.recipients),
        )

    def _consider(self, request: Request, standing: Standing | None = None) -> Follows | None:
        """Decide on a report, as far as is known; None when what follows comes later. `standing` is that of the domain, once it is known."""
        place = self._folds.place(request.address, request.key)
        if place.storing:
            self._folds.when_stored(request.address, partial(self._named, request))
            return None
        if place.named:
            return self._suppress(request, Suppressed.FOLDED)
        held = self._budgets.held(request.address) if request.folds else 0.0
        if refused := self._budgets.exhausted(request.side, request.address, held):
            return self._suppress(request, refused)
        return self._hold(request, held) if held else self._look_up(request, standing or self._standing(request))

    def _look_up(self, request: Request, standing: Standing | Awaitable[Standing]) -> Follows | None:
        """Make a report if the domain of its sender may exist; wait until that is known."""
        if not isinstance(standing, Standing):
            task = self._loop.create_task(_awaited(standing))
            self._lookups_running.add(task)
            task.add_done_callback(partial(self._looked_up, request))
            return None
        if refused := REFUSED_FOR.get(standing) or self._budgets.spend(
            request.side, request.address, folds=request.folds
        ):
            return self._suppress(request, refused)
        self._make(request)
        return None

    def _standing(self, request: Request) -> Standing | Awaitable[Standing]:
        """Return what the DNS says of the domain of a sender outside; nothing is asked about others and about domains of ours."""
        domain = request.address.rpartition("@")[2]
        if self._lookups is None or request.side is Side.INSIDE or domain in self._known or domain.startswith("["):
            return Standing.EXISTS
        return self._lookups.standing(domain, request.job.message.client)

    def _looked_up(self, request: Request, task: asyncio.Task[Standing]) -> None:
        """Go on with a report whose domain was looked up; what the lookup raised is a mistake of ours like any other."""
        self._lookups_running.discard(task)
        if not task.cancelled():
            self._answer(request, lambda: self._consider(request, task.result()))

    def _named(self, request: Request, error: str | None) -> None:
        """Take the end of storing a report that names a failure."""
        self._answer(request, partial(self._after_naming, request, error))

    def _after_naming(self, request: Request, error: str | None) -> Follows | None:
        if error is None:
            return self._suppress(request, Suppressed.FOLDED)
        return request.job.not_reported(request.wanted, error)

    def _answer(self, request: Request, decide: Callable[[], Follows | None]) -> None:
        """Call back with what a step from the loop decides."""
        try:
            follows = decide()
        except Exception as error:  # noqa: BLE001 - as in `report`
            follows = request.job.not_reported(request.wanted, maillog.describe(error))
        if follows is not None:
            request.then(follows)

    def _make(self, request: Request) -> None:
        """Make the report and store it."""
        job, wanted = request.job, request.wanted
        others = self._folds.begin(request.address, request.key, clock.monotonic()) if request.folds else []
        try:
            queue_id = self._spool.next_queue_id()
            made = self._maker.make(
                job.message, wanted.kind, wanted.recipients, request.allowed, queue_id, others=others
            )
            self._spool.insert(_Insert(self, request, made, names_others=bool(others)), made)
        except Exception as error:
            if others:
                self._folds.stored(request.address, maillog.describe(error))
            raise

    def stored(self, request: Request, made: Message, error: str | None, *, names_others: bool) -> None:
        """Take the result of storing a report."""
        job, wanted = request.job, request.wanted
        if names_others:
            self._folds.stored(request.address, error)
        request.then(job.reported(made, wanted) if error is None else job.not_reported(wanted, error))

    def _hold(self, request: Request, seconds: float) -> Follows:
        message, wanted = request.job.message, request.wanted
        failed = [(recipient.address, recipient.reply) for recipient in wanted.recipients]
        folded = fold(message.queue_id, message.arrival, failed)
        self._folds.wait(request.address, request.key, folded, clock.monotonic())
        maillog.event(
            Event.BOUNCE_HELD,
            about=message.queue_id,
            mail_from=message.reverse_path,
            recipients=[recipient.address for recipient in wanted.recipients],
            seconds=round(seconds, 3),
        )
        return request.job.postponed(wanted, clock.wall_ms() + math.ceil(seconds * 1000) + 1)

    def _suppress(self, request: Request, reason: Suppressed) -> Follows:
        self._folds.leave(request.address, request.key)
        return request.job.suppressed(request.wanted, reason)


class _Insert:
    """Waits for a report to be on disk."""

    __slots__ = ("_made", "_names_others", "_reporter", "_request")

    def __init__(self, reporter: Reporter, request: Request, made: Message, *, names_others: bool) -> None:
        self._reporter = reporter
        self._request = request
        self._made = made
        self._names_others = names_others

    def done(self, error: str | None, _message: Message | None) -> None:
        """Take the result of storing the report."""
        self._reporter.stored(self._request, self._made, error, names_others=self._names_others)


async def _awaited(standing: Awaitable[Standing]) -> Standing:
    return await standing


def _compared(reverse_path: str) -> str:
    """Return an address as it is compared; one that is longer than usual, by setting, in small letters."""
    try:
        return address_key(reverse_path)
    except ValueError:
        return reverse_path.lower()
