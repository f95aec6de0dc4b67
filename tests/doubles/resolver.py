"""A resolver without a network, held to the same kit as the real one (tests/conformance/test_resolver_kit.py).

    resolver = FakeResolver({("example.test", "TXT"): Found((b"v=spf1 -all",), 300.0), ("dead.test", "A"): Failed(Failure.TIMEOUT)})
    resolver.add("example.test", "MX", (10, "mx.example.test"))     # as NameServer.add
    resolver.set("slow.test", delay=0.02)                           # the name and all below it; fault= as well
    resolver.sign("secure.test")                                    # as a trusted validating server sees it: authentic
    resolver.questions                                              # what was asked and not known: [(name, kind), ...]

A name that is not there is NoName, another kind of one that is NoData. Waits on the running loop's clock, so that virtual time will do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Self

from mailmoat import clock
from mailmoat.resolver import Answer, Budget, Failed, Failure, Found, Kind, NoData, NoName, names
from mailmoat.resolver.cache import Cache, Key
from mailmoat.resolver.single_flight import SingleFlight

FAULTS = {
    "drop": Failure.TIMEOUT,
    "servfail": Failure.SERVFAIL,
    "refused": Failure.SERVFAIL,
    "lame": Failure.SERVFAIL,
    "malformed": Failure.SERVFAIL,
    "bogus": Failure.BOGUS,
}
NEGATIVE = 60.0


def record(kind: str, value):
    """A value as answers have it."""
    match value:
        case str() if kind == "TXT":
            return record(kind, value.encode())
        case bytes() | (int(), int(), int(), bytes()):
            return value
        case str() if kind == "MX":
            preference, host = value.split()
            return record(kind, (int(preference), host))
        case (int(preference), str(host)):
            return preference, names.normal(host)
        case tuple():
            return b"".join(text.encode() if isinstance(text, str) else text for text in value)
    return names.normal(value)


class FakeResolver:
    def __init__(self, zones: Mapping[tuple[str, str], Answer] | None = None, *, silence: float = 0.0) -> None:
        self.questions: list[Key] = []
        self.silence = silence
        """Seconds until a question that nobody answers has failed."""
        self._answers: dict[str, dict[str, Answer]] = {}
        self._treatment: dict[str, tuple[str | None, float]] = {}
        self._signed: set[str] = set()
        self._cache = Cache(1 << 20)
        self._in_flight = SingleFlight(self._ask)
        self._closed = False
        for (name, kind), answer in (zones or {}).items():
            self._answers.setdefault(names.normal(name), {})[kind] = answer

    def add(self, name: str, kind: str, *values, ttl: float = 300.0) -> None:
        kinds = self._answers.setdefault(names.normal(name), {})
        known = kinds.get(kind)
        records = known.records if isinstance(known, Found) else ()
        kinds[kind] = Found((*records, *(record(kind, value) for value in values)), ttl)

    def set(self, name: str, *, fault: str | None = None, delay: float = 0.0) -> None:
        self._treatment[names.normal(name)] = fault, delay

    def sign(self, *zones: str) -> None:
        self._signed.update(map(names.normal, zones))

    def cached(self, name: str, kind: Kind) -> Answer | None:
        key = (names.normal(name), kind)
        answer = self._cache.get(key, clock.monotonic())
        if answer is not None or key in self._in_flight:
            return answer
        if names.labels(key[0]) is None:
            return Failed(Failure.MALFORMED)
        return Failed(Failure.BROKEN) if self._closed else None

    async def query(self, name: str, kind: Kind, budget: Budget) -> Answer:
        known = self.cached(name, kind)
        if known is not None:
            return known
        if not budget.spend():
            return Failed(Failure.BUDGET)
        key = (names.normal(name), kind)
        return await self._in_flight.answer(key, budget.client, budget.seconds)

    async def close(self) -> None:
        self._closed = True
        await self._in_flight.close()

    async def _ask(self, key: Key) -> Answer:
        self.questions.append(key)
        name, kind = key
        fault, delay = self._treated(name)
        await asyncio.sleep(self.silence if fault == "drop" else delay)
        if fault:
            return Failed(FAULTS[fault])
        answer = self._answer(name, kind)
        if not isinstance(answer, Failed) and answer.ttl > 0:
            self._cache.put(key, answer, clock.monotonic() + answer.ttl)
        return answer

    def _treated(self, name: str) -> tuple[str | None, float]:
        while name not in self._treatment and name:
            name = name.partition(".")[2]
        return self._treatment.get(name, (None, 0.0))

    def _is_signed(self, name: str) -> bool:
        return any(name == zone or name.endswith(f".{zone}") for zone in self._signed)

    def _answer(self, asked: str, kind: str) -> Answer:
        name, least = asked, float("inf")
        seen = set()
        while name not in seen:
            seen.add(name)
            kinds = self._answers.get(name, {})
            match kinds.get(kind), kinds.get("CNAME"):
                case (Found(records, ttl), _):
                    authentic = all(map(self._is_signed, seen))
                    return Found(records, min(ttl, least), "" if name == asked else name, authentic=authentic)
                case (None, Found((str(target), *_), ttl)):
                    name, least = target, min(ttl, least)
                case (None, None):
                    there = not name or kinds or any(other.endswith(f".{name}") for other in self._answers)
                    return (NoData if there else NoName)(min(NEGATIVE, least))
                case (answer, _):
                    return answer
        return NoData(least)


class Zones(FakeResolver):
    """One that knows every answer at once: what it does not have does not exist. Nothing is ever waited for."""

    def __init__(self, zones: Mapping[tuple[str, str], Answer] | None = None) -> None:
        super().__init__(zones)
        self.asked: list[Key] = []
        self._known: dict[Key, Answer] = {}

    def txt(self, name: str, *records: str | bytes) -> Self:
        """Instead of those it had."""
        return self.put(name, "TXT", *(record.encode() if isinstance(record, str) else record for record in records))

    def put(self, name: str, kind: Kind, *records: object) -> Self:
        """Instead of those it had, as answers have them."""
        return self.publish(name, kind, Found(records, 300.0))

    def fail(self, name: str, kind: Kind, reason: Failure = Failure.TIMEOUT) -> Self:
        return self.publish(name, kind, Failed(reason))

    def publish(self, name: str, kind: Kind, answer: Answer) -> Self:
        """Any answer, instead of the one it had."""
        self._answers.setdefault(names.normal(name), {})[kind] = answer
        self._known.pop((names.normal(name), kind), None)
        return self

    def cached(self, name: str, kind: Kind) -> Answer | None:
        self.asked.append((name, kind))
        key = (names.normal(name), kind)
        if names.labels(key[0]) is None:
            return Failed(Failure.MALFORMED)
        return self._known.get(key) or self._known.setdefault(key, self._answer(*key))

    async def query(self, name: str, kind: Kind, budget: Budget) -> Answer:
        raise AssertionError("everything is known")
