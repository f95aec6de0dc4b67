"""The header field in which filters say what they found: `X-Mailmoat-Filter: reason; detail`, one field for each finding.

The reason is the one in logs and metrics, so that a rule of a mail program can go by it. The detail may hold what a stranger wrote; it ends up
in one line of printable ASCII. Fields of this name that come from strangers are removed (`OURS` in `receive/receiver.py`).
An agent makes the field with its verdict; it is counted and logged when there is a message that has it. Never fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat import maillog
from mailmoat.events import Event
from mailmoat.metrics import Family
from mailmoat.policy.verdict import Rule
from mailmoat.printable import printable_ascii

if TYPE_CHECKING:
    from mailmoat.metrics import Metrics

FIELD: Final = "X-Mailmoat-Filter"
LONGEST: Final = 400
"""Characters of a detail that are shown: the line stays below the 998 octets of RFC 5322 2.1.1."""

FILTER_STAMPS: Final = Family[Rule](
    "mailmoat_filter_stamps_total", "Findings of filters stamped on messages, by reason.", {"reason": ()}
)
_RULES: Final[dict[bytes, FilterRule]] = {}
_START: Final = f"{FIELD}: ".encode()


class FilterRule(Rule):
    """What a filter finds: it can refuse for it, or stamp it."""

    def __init_subclass__(cls) -> None:
        """Count the rules of a filter as refusals and as stamps."""
        super().__init_subclass__()
        FILTER_STAMPS.extend(cls)
        _RULES.update((rule.value.encode(), rule) for rule in cls)


def filter_stamp(rule: FilterRule, detail: str = "") -> bytes:
    """Return the field, with its CRLF, for the stamps of a `Pass`."""
    shown = f"; {printable_ascii(detail[:LONGEST])}" if detail else ""
    return f"{FIELD}: {rule.value}{shown}\r\n".encode("ascii")


def log_stamps(stamps: bytes, session_id: str, metrics: Metrics) -> None:
    """Count and log those of the fields of a message that are such."""
    for field in stamps.splitlines():
        reason, _, detail = field.removeprefix(_START).partition(b"; ")
        rule = _RULES.get(reason)
        if rule is not None and field.startswith(_START):
            metrics.add(FILTER_STAMPS[rule])
            maillog.event(Event.MESSAGE_STAMPED, session=session_id, reason=rule, detail=detail.decode("ascii"))
