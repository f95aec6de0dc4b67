"""One list in the DNS, and whether it can be relied on: its test entries, its answers, its silence.

A provider is in force only while it works: 127.0.0.2 is listed, 127.0.0.1 is not (RFC 5782 5), it answers, and it answers us. One that
fails is out of force at once: it counts for no client, so nobody is refused and nobody waits for it. That is logged, and a gauge has it. It is tested
at the start, every hour, and every minute while it is out of force; the test that it passes puts it in force again. IPv6 addresses are asked about only
when the test entries for IPv6 are right. Raises nothing but CancelledError.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mailmoat import clock, maillog
from mailmoat.dns_lists.answers import (
    LISTED,
    LISTED_IPV6,
    NOT_LISTED,
    NOT_LISTED_IPV6,
    Address,
    Outcome,
    Reading,
    query_name,
    read,
)
from mailmoat.dns_lists.counted import LOOKUPS, OUT_OF_FORCE, SECONDS, Place
from mailmoat.events import Event
from mailmoat.resolver import Budget, Failed, Found

if TYPE_CHECKING:
    from mailmoat.metrics import Metrics
    from mailmoat.resolver import Resolver
    from mailmoat.settings.sections.dns_lists import DnsListProvider

TEST_TIME: Final = 3600.0
"""Seconds from a test that was passed to the next."""
RETRY_TIME: Final = 60.0
"""Seconds from a test that was not passed to the next."""
FAILURES: Final = 5
"""Lookups in a row without an answer after which a provider is out of force."""


class Problem(StrEnum):
    """Why a provider is out of force; the reason in the log."""

    UNTESTED = "untested"
    NO_ANSWER = "no-answer"
    REFUSED = "refused"
    FOREIGN = "foreign-answer"
    TEST_ENTRY_MISSING = "test-entry-missing"
    LISTS_EVERYTHING = "lists-everything"


_PROBLEMS: Final = {
    Outcome.NO_ANSWER: Problem.NO_ANSWER,
    Outcome.REFUSED: Problem.REFUSED,
    Outcome.FOREIGN: Problem.FOREIGN,
}


class Provider:
    """One provider of a worker. `place` is its number in the settings, and `seconds` the time for one lookup."""

    def __init__(
        self, settings: DnsListProvider, place: Place, resolver: Resolver, metrics: Metrics | None, seconds: float
    ) -> None:
        self.settings = settings
        self.problem: Problem | None = Problem.UNTESTED
        """None while it is in force."""
        self.detail = ""
        """The answer that is wrong, or why there was none."""
        self.ipv6 = False
        """Whether it is asked about IPv6 addresses."""
        self._any = settings.model_copy(update={"answers": (), "bit_mask": 0})
        self._place = place
        self._resolver = resolver
        self._metrics = metrics
        self._seconds = seconds
        self._failures = 0
        self._next_test = 0.0
        self._test: asyncio.Task[None] | None = None

    def tick(self) -> asyncio.Task[None] | None:
        """Begin a test when it is time for one; the one that runs, if any."""
        if self._test is None and clock.monotonic() >= self._next_test:
            self._test = asyncio.get_running_loop().create_task(self._run_test())
        return self._test

    async def close(self) -> None:
        """End the test that runs."""
        if self._test is not None:
            self._test.cancel()
            await asyncio.wait((self._test,))

    async def look_up(self, address: Address, budget: Budget) -> tuple[Reading, float]:
        """Return what the list says of an address, and for how many seconds that holds; 0: it is not known."""
        if self.problem is Problem.UNTESTED and (test := self.tick()):
            await asyncio.wait((test,), timeout=budget.seconds)
        if self.problem or (address.version == 6 and not self.ipv6):  # noqa: PLR2004 - the version
            self._count(Outcome.NOT_ASKED)
            return Reading(Outcome.NOT_ASKED), 0.0 if self.problem else TEST_TIME
        began = clock.monotonic()
        answer = await self._resolver.query(query_name(address, self.settings.zone), "A", budget)
        reading = read(answer, self.settings)
        self._count(reading.outcome)
        self._note(reading)
        if isinstance(answer, Failed):
            return reading, 0.0
        if self._metrics:
            self._metrics.add(SECONDS[self._place], round((clock.monotonic() - began) * 1000))
        return reading, answer.ttl

    async def reason(self, address: Address, budget: Budget) -> str:
        """Return what the provider says of a listed address in its TXT record; empty when it says nothing."""
        answer = await self._resolver.query(query_name(address, self.settings.zone), "TXT", budget)
        first = answer.records[0] if isinstance(answer, Found) else b""
        return first.decode("ascii", "replace") if isinstance(first, bytes) else ""

    def _note(self, reading: Reading) -> None:
        """Go out of force for an answer that is no answer, or for too many that did not come.

        A query that was not sent, or not in time, is no evidence: the resolver was short of room, which others may cause.
        """
        if reading.outcome is Outcome.NOT_ASKED:
            return
        self._failures = self._failures + 1 if reading.outcome is Outcome.NO_ANSWER else 0
        problem = _PROBLEMS.get(reading.outcome)
        if problem and (problem is not Problem.NO_ANSWER or self._failures >= FAILURES):
            self._judge(problem, reading.address)
            self._next_test = clock.monotonic() + RETRY_TIME

    async def _run_test(self) -> None:
        pause = RETRY_TIME
        try:
            if (found := await self._find_problem()) is not None:
                self._failures = 0
                self._judge(*found)
                pause = RETRY_TIME if self.problem else TEST_TIME
        finally:
            self._next_test = clock.monotonic() + pause
            self._test = None

    async def _find_problem(self) -> tuple[Problem | None, str] | None:
        """Ask for the test entries; the first thing that is wrong, and what was answered. None: there was no room to ask."""
        entries = (LISTED, NOT_LISTED, LISTED_IPV6, NOT_LISTED_IPV6)
        budget = Budget(len(entries), self._seconds)
        readings = await asyncio.gather(*(self._entry(entry, budget) for entry in entries))
        if any(reading.outcome is Outcome.NOT_ASKED for reading in readings):
            return None
        present, absent, present_ipv6, absent_ipv6 = readings
        for reading in (present, absent):
            if reading.outcome in _PROBLEMS and not (reading is absent and reading.outcome is Outcome.REFUSED):
                return _PROBLEMS[reading.outcome], reading.address
        if absent.outcome is not Outcome.NOT_LISTED:
            return Problem.LISTS_EVERYTHING, absent.address
        if self.settings.test and present.outcome is not Outcome.LISTED:
            return Problem.TEST_ENTRY_MISSING, ""
        listed = present_ipv6.outcome is Outcome.LISTED or not self.settings.test
        self.ipv6 = listed and absent_ipv6.outcome is Outcome.NOT_LISTED
        return None, ""

    async def _entry(self, entry: Address, budget: Budget) -> Reading:
        return read(await self._resolver.query(query_name(entry, self.settings.zone), "A", budget), self._any)

    def _judge(self, problem: Problem | None, detail: str) -> None:
        before, self.problem, self.detail = self.problem, problem, detail
        if problem is before:
            return
        if problem:
            maillog.event(Event.DNS_LIST_FAILED, zone=self.settings.zone, reason=problem, detail=detail)
        elif before is not Problem.UNTESTED:
            maillog.event(Event.DNS_LIST_IN_FORCE, zone=self.settings.zone)
        if self._metrics:
            self._metrics.set(OUT_OF_FORCE[self._place], int(problem is not None))

    def _count(self, outcome: Outcome) -> None:
        if self._metrics:
            self._metrics.add(LOOKUPS[self._place, outcome])
