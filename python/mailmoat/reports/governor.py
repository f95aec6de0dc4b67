"""Whether a report may be made, and who gets it, by what is known of the message alone; budgets and the DNS come after it.

Pure. Promises: a message with a null reverse-path never makes a report, whatever the settings say, so that two servers can never
report to each other about reports (RFC 5321 4.5.5, RFC 3464 2). Nor does one whose reverse-path a check at its acceptance found
forged, so that nobody is sent reports about messages of others. Nor does one whose reverse-path at a domain of ours the next hop could
take for a way to another server: the report would be relayed there. What a stranger wrote is returned whole only to a sender that SPF
or the client confirms; anybody else gets the header section alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mailmoat._native import Address
from mailmoat.mailauth.results import Method, Status
from mailmoat.metrics import Family

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from mailmoat.mailauth.results import AuthResult


@dataclass(frozen=True, slots=True)
class Allowed:
    """A report is made; its envelope has a null reverse-path and these recipients."""

    recipients: tuple[str, ...]
    whole: bool = False
    """The message may go back whole; else its header section."""


class Suppressed(StrEnum):
    """Why there is no bounce: the reason in the log, and the label in metrics."""

    NULL_REVERSE_PATH = "null-reverse-path"
    DISABLED = "ndr-disabled"
    FORGED = "forged-sender"
    ROUTE = "sender-may-be-a-route"
    NOT_REQUESTED = "not-requested"
    NO_DOMAIN = "sender-domain-absent"
    """The domain of the reverse-path does not exist, or has neither MX nor address records."""
    NO_MAIL = "sender-domain-null-mx"
    """It accepts no mail (RFC 7505)."""
    ADDRESS_BUDGET = "address-budget"
    DOMAIN_BUDGET = "domain-budget"
    TOTAL_BUDGET = "total-budget"
    FOLDED = "folded"
    """Another bounce to the same address names it."""


BOUNCES_SUPPRESSED: Final = Family(
    "mailmoat_bounces_suppressed_total", "Bounces that were not sent, by reason.", {"reason": Suppressed}
)

_MAIL_FROM: Final = "smtp.mailfrom"
"""The identity that a report goes to."""


def judge(
    reverse_path: str,
    *,
    enabled: bool,
    copies: Iterable[str] = (),
    results: tuple[AuthResult, ...] = (),
    domains: Container[str] = (),
    trusted: bool = False,
) -> Allowed | Suppressed:
    """Return what happens for the failed recipients of a message from `reverse_path` (no brackets, empty when null).

    `results` are those of the authentication of the message, from its envelope; `trusted`: a client of ours brought it. `enabled`
    is the setting of that name in `ndr`; `copies` are the addresses that get a copy, each once. `domains` are those we take mail for.
    """
    if not reverse_path:
        return Suppressed.NULL_REVERSE_PATH
    if not enabled:
        return Suppressed.DISABLED
    if forged(results):
        return Suppressed.FORGED
    if _may_route(reverse_path, domains):
        return Suppressed.ROUTE
    whole = trusted or vouched(results)
    others = {copy.lower(): copy for copy in copies if copy.lower() != reverse_path.lower()}
    return Allowed((reverse_path, *others.values()), whole)


def _may_route(reverse_path: str, domains: Container[str]) -> bool:
    if reverse_path.rpartition("@")[2] not in domains:
        return False
    try:
        return Address.parse(reverse_path).may_route
    except ValueError:  # longer than usual, by setting
        return True


def forged(results: tuple[AuthResult, ...]) -> bool:
    """Return whether the domain of the reverse-path does not permit where the message came from, by whichever method."""
    return any(result.status is Status.FAIL and result.identity == _MAIL_FROM for result in results)


def vouched(results: tuple[AuthResult, ...]) -> bool:
    """Return whether its client has authenticated, or the domain of MAIL FROM permits where it came from (RFC 7208 8.3)."""
    passed = [result for result in results if result.status is Status.PASS]
    return any(
        result.method is Method.AUTH or (result.method is Method.SPF and result.identity == _MAIL_FROM)
        for result in passed
    )


def is_inside(results: tuple[AuthResult, ...]) -> bool:
    """Return whether its client has authenticated: it has the budgets of those inside."""
    return any(result.method is Method.AUTH and result.status is Status.PASS for result in results)
