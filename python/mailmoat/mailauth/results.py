"""The request and the result of an evaluation: frozen values, used by all rooms above."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from mailmoat.printable import printable_ascii

MAX_LINE: Final = 1000
"""Characters of a stranger's text that are kept."""

Kinds: TypeAlias = Literal["record", "lookup", "mechanism", "modifier", "result"]


class Status(StrEnum):
    """The seven results, written as Exchange writes them (RFC 4406 5, RFC 7208 2.6)."""

    PASS = "Pass"  # noqa: S105 - no password
    NEUTRAL = "Neutral"
    SOFT_FAIL = "SoftFail"
    FAIL = "Fail"
    NONE = "None"
    TEMP_ERROR = "TempError"
    PERM_ERROR = "PermError"

    @property
    def result(self) -> str:
        """The word of RFC 7208: lower case."""
        return self.value.lower()


class Scope(StrEnum):
    """Whose domain is checked, and so which records speak for it (RFC 4406 3.1)."""

    PRA = "pra"
    MFROM = "mfrom"


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """Whether the host at `ip` may send for `mailbox`."""

    ip: str
    """Of the client: IPv4, or IPv6 with or without a zone."""
    scope: Scope
    mailbox: str
    """`local@domain`; `postmaster@` and the HELO name for the null path (RFC 7208 2.4)."""
    helo_name: str
    """The name in its HELO or EHLO: `%{h}`."""
    receiver: str
    """This host's name: `%{r}` of an explanation."""


@dataclass(frozen=True, slots=True)
class Result:
    """The answer. All text is printable ASCII of one line, however hostile the records were."""

    status: Status
    reason: str
    """Plain words of ours, one of a fixed few: `Not Permitted`, `Domain Does Not Exist` ..."""
    explanation: str = ""
    """The domain's own words about its fail (RFC 7208 6.2); a stranger's text. "" when it has none."""
    domain: str = ""
    """The domain that was asked about."""
    mechanism: str = ""
    """The term of its record that decided; "" when none did."""
    problem: str = ""
    """What was wrong, for TempError and PermError; may quote a stranger's record."""


class Method(StrEnum):
    """How a message was authenticated, by the names of RFC 8601 2.7."""

    SENDER_ID = "sender-id"
    SPF = "spf"
    AUTH = "auth"


@dataclass(frozen=True, slots=True)
class AuthResult:
    """One authentication result of a message: a value in its envelope, whatever its header fields say (RFC 8601 2.2)."""

    method: Method
    status: Status
    identity: str
    """The property that was checked, such as `smtp.mailfrom`, `smtp.helo` or `header.from`; empty when there was none."""
    domain: str
    """The domain of that identity; empty when there was none."""
    reason: str = ""
    """As `Result.reason`."""

    def __post_init__(self) -> None:
        """Raise TypeError or ValueError for what the spool could not give back: it would take the results of others with it."""
        if not (isinstance(self.method, Method) and isinstance(self.status, Status)):
            raise TypeError(f"not a method and a status: {self.method!r}, {self.status!r}")
        for text in (self.identity, self.domain, self.reason):
            text.encode()


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a trace. What belongs to a step follows it, one deeper."""

    depth: int
    kind: Kinds
    text: str
    outcome: str


def one_line(text: str) -> str:
    """Return `text` as one line of printable ASCII: anything else becomes `?`, and a text that is too long is cut."""
    if len(text) > MAX_LINE:
        text = f"{text[: MAX_LINE - 3]}..."
    return printable_ascii(text)
