"""What the sender asked of reports, by the parameters of MAIL and RCPT (RFC 3461 4).

Pure. A value that no client can have given (it was checked when it came) counts as none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat._native import decode_xtext

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mailmoat._native import Message, Recipient


def wants_failure(recipient: Recipient) -> bool:
    """Return whether a report is wanted when the message cannot be delivered to this recipient: without NOTIFY it is (RFC 3461 5.2.6)."""
    return _wants(recipient, "FAILURE", unasked=True)


def wants_delay(recipient: Recipient) -> bool:
    """Return whether a report is wanted when the delivery takes long: without NOTIFY it may be made (RFC 3461 5.2.5)."""
    return _wants(recipient, "DELAY", unasked=True)


def wants_success(recipient: Recipient) -> bool:
    """Return whether a report is wanted when the message is delivered to this recipient (RFC 3461 5.2.3)."""
    return _wants(recipient, "SUCCESS", unasked=False)


def asks_for_reports(message: Message, recipients: Sequence[Recipient]) -> bool:
    """Return whether the sender has asked for reports by its own parameters, so that each message needs one of its own (RFC 3461 5.2)."""
    return "ENVID" in message.parameters or any(
        keyword in recipient.parameters for recipient in recipients for keyword in ("NOTIFY", "ORCPT")
    )


def delay_reportable(message: Message, recipients: Sequence[Recipient], indexes: Iterable[int]) -> frozenset[int]:
    """Return those of the recipients whose delay is to be reported: once, and never to the null reverse-path."""
    if not message.reverse_path:
        return frozenset()
    return frozenset(index for index in indexes if not recipients[index].reported and wants_delay(recipients[index]))


def _wants(recipient: Recipient, event: str, *, unasked: bool) -> bool:
    notify = recipient.parameters.get("NOTIFY")
    return unasked if notify is None else event in notify.upper().split(",")


def original_recipient(recipient: Recipient) -> str:
    """Return the recipient that the sender meant, as ORCPT has it: type, `;`, encoded address; empty when it was not given."""
    return recipient.parameters.get("ORCPT") or ""


def envelope_id(message: Message) -> str:
    """Return what ENVID encodes: text that the sender knows the transaction by; empty when it was not given."""
    return decode_xtext(message.parameters.get("ENVID") or "")


def header_alone(parameters: Mapping[str, str | None]) -> bool:
    """Return whether a report may not give back the body: for RET=HDRS, and under REQUIRETLS (RFC 8689 5)."""
    return (parameters.get("RET") or "").upper() == "HDRS" or "REQUIRETLS" in parameters
