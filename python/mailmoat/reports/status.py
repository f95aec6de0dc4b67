"""The part of a report for programs: message/delivery-status, or message/global-delivery-status (RFC 3464 2, RFC 6533 4.1).

Pure. Promises: one block for the message, one for each recipient, their fields in the order of the standard.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat._native import decode_unitext, decode_xtext
from mailmoat.net.address import literal
from mailmoat.reports.kind import ReportKind
from mailmoat.reports.line import block
from mailmoat.reports.original import Part, encoding_of

if TYPE_CHECKING:
    from mailmoat.reports.line import Line
    from mailmoat.reports.report import Report, ReportedRecipient

EXPIRED: Final = "4.4.7"
"""Delivery time expired. It stays in class 4 beside `Action: failed`: abandoned for age, and sending again may help (RFC 3463 2)."""

STATUS_OF_CODE: Final = {
    "450": "4.2.0", "451": "4.3.0", "452": "4.3.1",
    "500": "5.5.2", "501": "5.5.4", "502": "5.5.1", "503": "5.5.1", "504": "5.5.4", "555": "5.5.4",
    "551": "5.1.6", "552": "5.2.2", "553": "5.1.3",
}  # fmt: skip
"""What a reply without an enhanced code most likely meant; any other is undefined in its class, never a guess."""

CLASS_OF_KIND: Final = {ReportKind.FAILED: "45", ReportKind.DELAYED: "4"}
"""The classes that a status of the kind can have; a success has class 2."""


def status(recipient: ReportedRecipient, kind: ReportKind = ReportKind.FAILED) -> str:
    """Return the status code: expiry, else the enhanced code of the reply, else what its code says (RFC 3463)."""
    if recipient.expired_after_s is not None:
        return EXPIRED
    return status_of(recipient.reply, CLASS_OF_KIND.get(kind, "2"))


def status_of(reply: str, classes: str = "45") -> str:
    """Return the enhanced code of a reply, else what its code says, in one of these classes: the last where it is in none."""
    enhanced = re.match(rf"(?:[245][0-9]{{2}}[ -])?([{classes}]\.[0-9]{{1,3}}\.[0-9]{{1,3}})(?![0-9.])", reply)
    if enhanced:
        return enhanced[1]
    code = reply[:3]
    if not re.match(rf"[{classes}][0-9]{{2}}", code):
        code = classes[-1]
    return STATUS_OF_CODE.get(code, f"{code[0]}.0.0")


def delivery_status(line: Line, report: Report) -> Part:
    """Write the part."""
    original = report.original
    fields = [
        f"Reporting-MTA: {_own_name(line.address(report.reporting_mta))}",
        f"Arrival-Date: {clock.rfc5322_date(original.arrival_ms)}",
        f"X-Mailmoat-Queue-ID: {line.address(original.queue_id)}",
    ]
    if original.envelope_id:
        fields.insert(0, f"Original-Envelope-Id: {line.address(original.envelope_id)}")
    if original.client:
        fields.insert(-2, f"Received-From-MTA: dns; {line.address(_mta_name(original.client))}")
    for recipient in report.recipients:
        fields += ["", *_recipient(line, recipient, report.kind)]
    body = block(fields)
    return Part("message/global-delivery-status" if line.utf8 else "message/delivery-status", encoding_of(body), body)


def _recipient(line: Line, recipient: ReportedRecipient, kind: ReportKind) -> list[str]:
    address_type = "rfc822" if recipient.address.isascii() else "utf-8"
    fields = [
        *_original_recipient(line, recipient.original),
        f"Final-Recipient: {address_type}; {line.address(recipient.address)}",
        f"Action: {kind}",
        f"Status: {status(recipient, kind)}",
    ]
    if recipient.remote_mta:
        fields.append(f"Remote-MTA: dns; {line.address(_mta_name(recipient.remote_mta))}")
    # The reply of a delivery into a mailbox here may have a path, which no sender is to see.
    if recipient.reply and (recipient.is_remote or kind in CLASS_OF_KIND):
        said_by = "smtp" if recipient.is_remote and _is_reply(recipient.reply) else "X-Mailmoat"
        fields.append(line.fold(recipient.reply, first=f"Diagnostic-Code: {said_by}; ", rest=" "))
    if recipient.last_attempt_ms is not None:
        fields.append(f"Last-Attempt-Date: {clock.rfc5322_date(recipient.last_attempt_ms)}")
    if recipient.will_retry_until_ms is not None:
        fields.append(f"Will-Retry-Until: {clock.rfc5322_date(recipient.will_retry_until_ms)}")
    return fields


def _original_recipient(line: Line, original: str) -> list[str]:
    """Return the field for ORCPT, decoded (RFC 3461 6.3); an address of the type utf-8 stays encoded in a part of ASCII (RFC 6533 3)."""
    kind, _, encoded = original.partition(";")
    if not encoded:
        return []
    is_utf8 = kind.lower() == "utf-8"
    decode = decode_unitext if is_utf8 else decode_xtext
    address = encoded if is_utf8 and not line.utf8 else decode(encoded)
    return [f"Original-Recipient: {line.address(kind)}; {line.address(address)}"]


def _is_reply(text: str) -> bool:
    return re.match("[2-5][0-9]{2}(?![0-9])", text) is not None


def _own_name(name: str) -> str:
    """Return the name with its type: one that is no name of the DNS is only our own (RFC 3461 6.3)."""
    return f"dns; {name}" if "." in name or name.startswith("[") else f"x-local-hostname; {name}"


def _mta_name(client: str) -> str:
    """Return an IP address as a literal (RFC 5321 4.1.3), a name as it is."""
    try:
        return literal(client)
    except ValueError:
        return client
