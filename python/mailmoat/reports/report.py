"""What a report says, as values: the message it is about, its recipients, and its own header fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat.reports.folded import Folded
    from mailmoat.reports.kind import ReportKind


@dataclass(frozen=True, slots=True)
class Original:
    """The message that the report is about."""

    queue_id: str
    arrival_ms: int
    reverse_path: str
    """Without brackets; never empty."""
    client: str = ""
    """IP address, or name, of who brought it; empty when unknown."""
    envelope_id: str = ""
    """Given with ENVID, decoded; empty when it was not."""
    octets: bytes = b""
    """The message with CRLF line ends, or at least its header section, which alone is attached unless `whole`."""
    whole: bool = False


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """One recipient of whom the kind of the report is true."""

    address: str
    reply: str
    """The last reply, such as `550 5.1.1 User unknown`, or our own reason when no server replied."""
    remote_mta: str = ""
    """IP address, or name, of who replied; empty when nobody did."""
    last_attempt_ms: int | None = None
    expired_after_s: float | None = None
    """Set when it was given up for age."""
    original: str = ""
    """Given with ORCPT: type, `;`, encoded address; empty when it was not."""
    will_retry_until_ms: int | None = None
    """Set while attempts go on."""
    index: int = 0
    """Its place in the envelope."""
    at_socket: bool = False
    """A server replied at a Unix socket, where it has no name."""

    @property
    def is_remote(self) -> bool:
        """The reply is that of a server."""
        return self.at_socket or bool(self.remote_mta)


@dataclass(frozen=True, slots=True)
class Report:
    """What one report says."""

    kind: ReportKind
    reporting_mta: str
    postmaster: str
    original: Original
    recipients: list[ReportedRecipient]
    date_ms: int
    message_id: str
    """With its brackets."""
    boundary: str
    """1 to 60 octets; lengthened when the parts contain it."""
    others: Sequence[Folded] = ()
    """Other messages of the same sender that failed, too."""
    tls_optional: bool = False
    """TLS is not required for it, as it was not for the message (RFC 8689 3)."""
