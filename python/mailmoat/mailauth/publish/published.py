"""What the DNS says about a domain that will publish a record, and the lookups that a check of the record costs.

Queries through a `Resolver` and never raises for its answers: a failed lookup is a sentence in `problems`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from mailmoat.mailauth.spf.record import Record, TooMany, select
from mailmoat.resolver import Failed, Failure, Found, NoName

if TYPE_CHECKING:
    from mailmoat.mailauth.results import Scope
    from mailmoat.resolver import Answer, Budget, Kind, Resolver

MAX_COUNT: Final = 100
"""Lookups at which counting ends."""
MAX_VOID: Final = 2
MAX_HOSTS: Final = 10

WHY: Final = {
    Failure.TIMEOUT: "DNS did not answer",
    Failure.BROKEN: "DNS did not answer",
    Failure.SERVFAIL: "the name server failed",
    Failure.BOGUS: "its signatures are wrong",
    Failure.BUDGET: "no time is left",
    Failure.NO_ROOM: "no time is left",
    Failure.MALFORMED: "it is no name",
}

_LOOKUP_TERM: Final = re.compile(r"[+?~-]?(include|a|mx|ptr|exists)(?::([^/]*))?(?:/.*)?\Z", re.IGNORECASE)
_REDIRECT: Final = re.compile(r"redirect=(.*)\Z", re.IGNORECASE)
_ALL: Final = re.compile(r"[+?~-]?all\Z", re.IGNORECASE)
_RECORD: Final = re.compile(rb"v=spf1(?: |\Z)|spf2\.", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Published:
    """What is there; None: not known, for DNS did not answer."""

    domain: str
    missing: bool
    """The domain does not exist."""
    addresses: tuple[str, ...] | None
    mx: tuple[str, ...] | None
    """Its MX hosts, the preferred ones first."""
    texts: tuple[bytes, ...] | None
    """Its TXT records, the strings of each joined."""
    problems: tuple[str, ...]
    """What could not be looked up."""

    @property
    def records(self) -> tuple[str, ...] | None:
        """The texts that are records, or mean to be."""
        if self.texts is None:
            return None
        return tuple(text.decode("ascii", "replace") for text in self.texts if _RECORD.match(text))


@dataclass(slots=True)
class Reach:
    """What a record takes when no term matches: the most a check may have to look up."""

    lookups: int = 0
    voids: int = 0
    """Terms that find nothing."""
    cut: bool = False
    """Counting ended before the end."""
    problems: list[str] = field(default_factory=list)


async def look_up(resolver: Resolver, domain: str, budget: Budget) -> Published:
    """Look up addresses, MX and TXT of `domain`."""
    kinds: tuple[Kind, ...] = ("A", "AAAA", "MX", "TXT")
    answers = {kind: await resolver.query(domain, kind, budget) for kind in kinds}
    problems = [
        f"{kind} of {domain} could not be looked up ({WHY[answer.reason]}): what follows may lack it."
        for kind, answer in answers.items()
        if isinstance(answer, Failed)
    ]
    mx, texts = answers["MX"], answers["TXT"]
    return Published(
        domain,
        missing=any(isinstance(answer, NoName) for answer in answers.values()),
        addresses=_addresses(answers["A"], answers["AAAA"]),
        mx=None if isinstance(mx, Failed) else tuple(host for _, host in sorted(_hosts(mx)) if host),
        texts=None if isinstance(texts, Failed) else _texts(texts),
        problems=tuple(problems),
    )


async def reach(resolver: Resolver, domain: str, record: str, scope: Scope, budget: Budget) -> Reach:
    """Count the lookups of `record` at `domain`, through all it includes and redirects to (RFC 7208 4.6.4)."""
    found = Reach()
    await _Count(resolver, scope, budget, found).walk(record.partition(" ")[2], domain, (domain,))
    if found.voids > MAX_VOID:
        found.problems.append(
            f"{found.voids} terms find nothing, and only {MAX_VOID} may: checks may end in PermError."
        )
    return found


@dataclass(slots=True)
class _Count:
    resolver: Resolver
    scope: Scope
    budget: Budget
    found: Reach

    async def walk(self, terms: str, domain: str, path: tuple[str, ...]) -> None:
        listed = terms.split()
        for term in listed:
            if match := _LOOKUP_TERM.match(term):
                await self._count(term, match[1].lower(), (match[2] or domain).lower().removesuffix("."), path)
            elif (match := _REDIRECT.match(term)) and not any(map(_ALL.match, listed)):
                await self._count(term, "redirect", match[1].lower().removesuffix("."), path)
            if self.found.cut:
                return

    async def _count(self, term: str, name: str, target: str, path: tuple[str, ...]) -> None:
        self.found.lookups += 1
        if self.found.lookups >= MAX_COUNT:
            self.found.cut = True
        elif "%" in target or name in {"ptr", "exists"}:
            return  # what they ask depends on the client
        elif name in {"include", "redirect"}:
            await self._follow(term, target, path)
        elif name == "mx":
            answer = await self._ask(target, "MX")
            hosts = _hosts(answer)
            self.found.voids += not hosts and not isinstance(answer, Failed)
            if len(hosts) > MAX_HOSTS:
                self._tell(term, f"{target} has {len(hosts)} MX hosts, more than {MAX_HOSTS}: checks end in PermError.")
        else:
            addresses = _addresses(await self._ask(target, "A"), await self._ask(target, "AAAA"))
            if addresses == ():
                self.found.voids += 1
                self._tell(term, f"{target} has no address.")

    async def _follow(self, term: str, target: str, path: tuple[str, ...]) -> None:
        if target in path:
            self.found.cut = True
            self.found.lookups = MAX_COUNT
            self._tell(term, f"{' -> '.join((*path, target))} goes round in a circle.")
            return
        answer = await self._ask(target, "TXT")
        chosen = select(_texts(answer), self.scope)
        if isinstance(chosen, Record):
            await self.walk(chosen.terms.decode("ascii", "replace"), target, (*path, target))
        elif isinstance(chosen, TooMany):
            self._tell(term, f"{target} has {chosen}: checks end in PermError.")
        elif not isinstance(answer, Failed):
            self._tell(term, f"{target} has no record: checks end in PermError.")

    async def _ask(self, name: str, kind: Kind) -> Answer:
        answer = await self.resolver.query(name, kind, self.budget)
        if isinstance(answer, Failed):
            self._tell("", f"{kind} of {name} could not be looked up ({WHY[answer.reason]}): the count may be too low.")
        return answer

    def _tell(self, term: str, sentence: str) -> None:
        self.found.problems.append(f"`{term}`: {sentence}" if term else sentence)


def _records(answer: Answer) -> tuple[object, ...]:
    return answer.records if isinstance(answer, Found) else ()


def _addresses(*answers: Answer) -> tuple[str, ...] | None:
    """Return all values; None if none is known and some are unknown."""
    found = tuple(str(address) for answer in answers for address in _records(answer))
    return None if not found and any(isinstance(answer, Failed) for answer in answers) else found


def _hosts(answer: Answer) -> list[tuple[int, str]]:
    return cast("list[tuple[int, str]]", list(_records(answer)))


def _texts(answer: Answer) -> tuple[bytes, ...]:
    return cast("tuple[bytes, ...]", _records(answer))
