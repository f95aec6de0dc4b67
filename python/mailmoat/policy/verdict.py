"""Verdicts: what an agent answers with. Frozen values that are checked when they are made.

Promises: a reply that exists can be sent as it is, a stamp that exists can be put on top of a message, and the code of a refusal
fits its verdict. What breaks this raises ValueError or TypeError in the agent that makes it, which is then an agent that failed
(pipeline.py). Replies: RFC 5321 4.2, RFC 3463 2; header fields: RFC 5322 2.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mailmoat._native import Address
from mailmoat.mailauth.results import AuthResult
from mailmoat.metrics import Family
from mailmoat.settings.sections.tarpit import LONGEST_TIME

if TYPE_CHECKING:
    from collections.abc import Sequence

LINE: Final = 510
"""Octets of a reply line without its CRLF (RFC 5321 4.5.3.1.5)."""
PERMANENT, TRANSIENT = 5, 4

_REPLY: Final = re.compile(r"([45])[0-5][0-9] \1\.[0-9]{1,3}\.[0-9]{1,3} [ -~]+")
_FIELD: Final = re.compile(rb"[!-9;-~]+:[^\r\n\0]*(?:\r\n[ \t][^\r\n\0]*)*\r\n")
_CONTROL: Final = re.compile(r"[\0-\x1f\x7f]")
_NOT_ASCII: Final = re.compile(r"[^ -~]")


class Rule(StrEnum):
    """Why an agent refuses: each agent has an enum of its rules. The value is the label in the metrics and the reason in the log."""

    def __init_subclass__(cls) -> None:
        """Count the rules of an agent like all others."""
        POLICY_REFUSALS.extend(cls)


POLICY_REFUSALS: Final = Family[Rule](
    "mailmoat_policy_refusals_total", "Refusals by policy, by reason.", {"reason": ()}
)


@dataclass(frozen=True, slots=True)
class Reply:
    """A refusal: a code (400 to 599), the enhanced status code of the same class, and a text of printable ASCII."""

    code: int
    enhanced: str
    text: str

    def __post_init__(self) -> None:
        line = str(self)
        of_types = type(self.code) is int and isinstance(self.text, str)
        if not of_types or not _REPLY.fullmatch(line) or len(line) > LINE:
            raise ValueError(f"not a reply that refuses: {line[:LINE]!r}")

    @classmethod
    def showing(cls, code: int, enhanced: str, text: str) -> Reply:
        """Make a reply that shows what a stranger wrote: other characters are replaced, and a text that is too long is cut."""
        if not (text.isascii() and text.isprintable()):
            text = _NOT_ASCII.sub("?", _CONTROL.sub(" ", text))
        return cls(code, enhanced, text[: LINE - len(f"{code} {enhanced} ")])

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}"


@dataclass(frozen=True, slots=True)
class Pass:
    """Go on to the next agent. What it carries counts when no later agent refuses."""

    stamps: tuple[bytes, ...] = ()
    """Whole header fields, each ending in CRLF, for the top of the message."""
    results: tuple[AuthResult, ...] = ()
    """Authentication results, for the envelope of the message."""
    dropped: tuple[Address, ...] = ()
    """At END_OF_HEADERS and END_OF_DATA: recipients whose copy is discarded, while the message goes to the rest. The client does not
    learn of it. With nobody left it is a discard."""
    redirected: tuple[Address, ...] = ()
    """At RCPT: the addresses that get the message instead of the recipient, which the client sees accepted; it may be one of them. Later
    agents judge each of these addresses."""
    tarpit: float | None = None
    """Seconds that each 5xx reply of the session is held from now on, in place of `tarpit.time`; a client that is exempt is never
    held, and `tarpit.max_session` bounds the sum."""

    def __post_init__(self) -> None:
        if self.tarpit is not None and not 0 <= self.tarpit <= LONGEST_TIME:
            raise ValueError(f"held for {self.tarpit} s: not between 0 and {LONGEST_TIME}")
        _check_values("stamps", self.stamps, bytes)
        _check_values("results", self.results, AuthResult)
        _check_values("dropped", self.dropped, Address)
        _check_values("redirected", self.redirected, Address)
        for stamp in self.stamps:
            if not _FIELD.fullmatch(stamp):
                raise ValueError(f"not a header field: {stamp!r}")

    def and_then(self, other: Pass) -> Pass:
        """Return what both carry, this one first; a later redirection is one of what the earlier led to."""
        return self if other is PASS else Pass.of((self, other), other.redirected or self.redirected)

    @staticmethod
    def of(carried: Sequence[Pass], redirected: tuple[Address, ...]) -> Pass:
        """Return what these carry, in their order, with a redirection to these addresses."""
        return Pass(
            tuple(stamp for one in carried for stamp in one.stamps),
            tuple(result for one in carried for result in one.results),
            tuple(dropped for one in carried for dropped in one.dropped),
            redirected,
            max((one.tarpit for one in carried if one.tarpit is not None), default=None),
        )


def _check_values(name: str, values: object, kind: type) -> None:
    if not isinstance(values, tuple) or not all(isinstance(value, kind) for value in values):
        raise TypeError(f"{name} is {values!r}, not a tuple of {kind.__name__}")


PASS: Final = Pass()


@dataclass(frozen=True, slots=True)
class Accept:
    """Pass, and ask none of the agents that come later at this stage."""

    carried: Pass = PASS

    def __post_init__(self) -> None:
        if not isinstance(self.carried, Pass):
            raise TypeError(f"Accept with {self.carried!r} for a Pass")


@dataclass(frozen=True, slots=True)
class Report:
    """At RCPT: accept the recipient now, and report it as failed with this 5xx reply later."""

    reply: Reply
    rule: Rule

    def __post_init__(self) -> None:
        _fits(self, PERMANENT)


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse for good: a 5xx reply. `detail` says more than the rule, for the log."""

    reply: Reply
    rule: Rule
    detail: str = ""

    def __post_init__(self) -> None:
        _fits(self, PERMANENT)


@dataclass(frozen=True, slots=True)
class Tempfail:
    """Refuse for now: a 4xx reply. `detail` says more than the rule, for the log."""

    reply: Reply
    rule: Rule
    detail: str = ""

    def __post_init__(self) -> None:
        _fits(self, TRANSIENT)


@dataclass(frozen=True, slots=True)
class Discard:
    """From RCPT on: reply to the client as if its message was accepted, and keep nothing. `detail` says more than the rule, for the log."""

    rule: Rule
    detail: str = ""

    def __post_init__(self) -> None:
        _check_rule(self)


Decision = Report | Reject | Tempfail | Discard
"""What ends the calls of agents at a stage."""
Conclusion = Pass | Decision
"""What all agents of a stage say together."""
Verdict = Pass | Accept | Decision
"""What one agent says."""


def _fits(verdict: Report | Reject | Tempfail, first_digit: int) -> None:
    if verdict.reply.code // 100 != first_digit:
        raise ValueError(f"{type(verdict).__name__} with the reply {verdict.reply}")
    _check_rule(verdict)


def _check_rule(verdict: Decision) -> None:
    if not isinstance(verdict.rule, Rule):
        raise TypeError(f"{type(verdict).__name__} with {verdict.rule!r} for a rule")
