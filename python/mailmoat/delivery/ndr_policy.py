"""Whether a report about failed recipients may be made, and who gets it.

Pure. Promises: a message with a null reverse-path never makes a report, whatever the settings say, so that two servers can
never report to each other about reports (RFC 5321 4.5.5, RFC 3464 2). The scheduler asks once per message with failed recipients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Report:
    """A report is owed; its envelope has a null reverse-path and these recipients."""

    recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Suppressed:
    """No report; `reason` is for the log."""

    reason: str


NULL_REVERSE_PATH: Final = Suppressed("null-reverse-path")
DISABLED: Final = Suppressed("ndr-disabled")


def judge(reverse_path: str, *, enabled: bool, copy_to: str | None) -> Report | Suppressed:
    """What becomes of the failed recipients of a message from `reverse_path` (no brackets, empty when null).

    `enabled` and `copy_to` are the settings of those names in `ndr`; `copy_to` gets a copy of each report made, once.
    """
    if not reverse_path:
        return NULL_REVERSE_PATH
    if not enabled:
        return DISABLED
    if copy_to and copy_to.lower() != reverse_path.lower():
        return Report((reverse_path, copy_to))
    return Report((reverse_path,))
