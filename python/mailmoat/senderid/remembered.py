"""Results of checks, kept as long as every answer they were drawn from is the one the resolver still has.

A check is a pure function of its question and the DNS's answers, so its result holds until one of these is another: that is asked
of the resolver's cache each time, and times to live stay the resolver's business. A host that sends many messages of one domain
is judged once. Bounded: the least recently used go first, and what rests on long answers is not kept. Never asks, never waits.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, TypeAlias

from mailmoat.resolver import Found

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mailmoat.resolver import Answer, Kind, Resolver
    from mailmoat.senderid.values import Question, Result

    Answers: TypeAlias = Mapping[tuple[str, Kind], Answer]

MOST: Final = 2048
LONGEST: Final = 8192
"""Octets of all answers under a result, roughly; an answer stays in memory as long as a result that rests on it."""

_PERSONAL: Final = frozenset("slh")
"""Macro letters that speak of the mailbox or the HELO name (RFC 7208 7.2)."""
_FLEETING: Final = "t"


class Remembered:
    """The results of one evaluator."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, ...], tuple[Result, tuple[tuple[str, Kind, Answer], ...]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, question: Question, domain: str, resolver: Resolver) -> Result | None:
        """The result of an equal question, were it of another mailbox as long as no record made a difference of that."""
        for key in (_of_domain(question, domain), _of_mailbox(question, domain)):
            found = self._kept.get(key)
            if found is None:
                continue
            result, answers = found
            if all(resolver.cached(name, kind) is answer for name, kind, answer in answers):
                self._kept.move_to_end(key)
                return result
            del self._kept[key]
        return None

    def put(self, question: Question, domain: str, letters: Collection[str], answers: Answers, result: Result) -> None:
        """Keep a result that rests on these answers and on the values of these macro letters."""
        if _FLEETING in letters or sum(map(_size, answers.values())) > LONGEST:
            return
        key = _of_domain(question, domain) if _PERSONAL.isdisjoint(letters) else _of_mailbox(question, domain)
        self._kept[key] = result, tuple((name, kind, answer) for (name, kind), answer in answers.items())
        self._kept.move_to_end(key)
        if len(self._kept) > MOST:
            self._kept.popitem(last=False)


def _of_domain(question: Question, domain: str) -> tuple[str, ...]:
    return question.ip, question.scope, domain


def _of_mailbox(question: Question, domain: str) -> tuple[str, ...]:
    return question.ip, question.scope, domain, question.mailbox, question.hello


def _size(answer: Answer) -> int:
    records = answer.records if isinstance(answer, Found) else ()
    return 64 * (1 + len(records)) + sum(len(record) for record in records if isinstance(record, bytes))
