"""Check whether a host may send for a domain: the single entry point of Sender ID and SPF checks (RFC 4406 4, RFC 7208 4).

Promises: one `Result` for every request, whatever the records and the name servers contain; at once, without a task,
when the resolver's cache has all the answers; else an awaitable that never raises and takes 20 seconds at most. Never blocks the
loop on anything but some milliseconds of work, never uses a thread, never makes a lookup that it does not need. Reads no
message.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import spf  # type: ignore[import-untyped]

from mailmoat import maillog
from mailmoat.events import Event
from mailmoat.mailauth.results import CheckRequest, Result, Scope, Status, Step, one_line
from mailmoat.mailauth.spf import greenlet_adapter
from mailmoat.mailauth.spf.result_cache import ResultCache
from mailmoat.mailauth.spf.spf_check import SpfCheck

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from mailmoat.resolver import Budget, Resolver

__all__ = ["CheckRequest", "Checker", "Result", "Scope", "Status", "Step"]

MAX_TIME: Final = 20.0
"""Seconds of one check (RFC 7208 4.6.4)."""

_REASONS: Final = {
    Status.PASS: "Permitted",
    Status.NEUTRAL: "Neither Permitted Nor Denied",
    Status.SOFT_FAIL: "Probably Not Permitted",
    Status.FAIL: "Not Permitted",
    Status.NONE: "No Record",
    Status.TEMP_ERROR: "Temporary DNS Error",
    Status.PERM_ERROR: "Invalid Record",
}
_STATUSES: Final = {status.result: status for status in Status}


class Checker:
    """Checks by one resolver; what it remembers rests on that resolver's answers alone."""

    def __init__(self, resolver: Resolver, *, void_lookups: int = 2) -> None:
        self._resolver = resolver
        self._void_lookups = void_lookups
        self._results = ResultCache()

    def check(
        self, request: CheckRequest, budget: Budget, trace: list[Step] | None = None
    ) -> Result | Awaitable[Result]:
        """Answer the request; what is not in the cache is charged to `budget`. `trace` gets the steps as they are taken."""
        domain = request.mailbox.rpartition("@")[2].removesuffix(".").lower()
        if not _is_domain(domain):
            return _traced(Result(Status.NONE, "Malformed Domain", domain=one_line(domain)), trace)
        known = None if trace is not None else self._results.get(request, domain, self._resolver)
        if known is not None:
            return known
        work = partial(self._run, request, domain, trace)
        outcome = greenlet_adapter.run(work, self._resolver, budget, MAX_TIME)
        return outcome if isinstance(outcome, Result) else _wait(outcome, domain, trace)

    def _run(self, request: CheckRequest, domain: str, trace: list[Step] | None) -> Result:
        shown = one_line(domain)
        try:
            check = SpfCheck(request, domain, self._resolver, self._void_lookups, trace)
            result = _conclude(check)
            self._results.put(request, domain, check.letters, check.answers, result)
        except spf.PermError as error:  # those of a record are results already
            result = Result(Status.PERM_ERROR, "Unknown Client Address", domain=shown, problem=one_line(str(error)))
        except Exception as error:  # noqa: BLE001 - a stranger's record ends here, whatever pyspf makes of it
            maillog.event(Event.SPF_CHECK_FAILED, domain=shown, ip=request.ip, error=maillog.describe(error))
            result = Result(Status.PERM_ERROR, _REASONS[Status.PERM_ERROR], domain=shown)
        return _traced(result, trace)


def _conclude(check: SpfCheck) -> Result:
    word, _, text = check.check()
    check.perm_error = None  # its traceback holds the check, which would wait for the collector
    status = _STATUSES[word]
    domain = one_line(check.o)
    if status is Status.NONE and check.domain_is_missing:
        missing = Status.FAIL if check.scope is Scope.PRA else Status.NONE  # RFC 4406 4.3
        return Result(missing, "Domain Does Not Exist", domain=domain)
    if status in {Status.TEMP_ERROR, Status.PERM_ERROR}:
        return Result(status, _REASONS[status], domain=domain, problem=one_line(text.partition("Error: ")[2]))
    explanation = one_line(check.explain()) if status is Status.FAIL else ""
    return Result(status, _REASONS[status], explanation, domain, one_line(check.mechanism or ""))


async def _wait(pending: Awaitable[Result], domain: str, trace: list[Step] | None) -> Result:
    try:
        return await pending
    except TimeoutError:
        problem = f"not done within {MAX_TIME:.0f} s"
        return _traced(Result(Status.TEMP_ERROR, "Time Is Up", domain=one_line(domain), problem=problem), trace)


def _traced(result: Result, trace: list[Step] | None) -> Result:
    if trace is not None:
        outcome = f"{result.status}: {result.problem or result.reason}"
        trace.append(Step(0, "result", result.domain, outcome))
    return result


def _is_domain(name: str) -> bool:
    """Return whether it has several labels, each of valid length (RFC 7208 4.3); an address literal has not."""
    labels = name.split(".")
    return len(labels) > 1 and not name.startswith("[") and all(0 < len(label) < 64 for label in labels)  # noqa: PLR2004 - RFC 1035 2.3.4
