"""Delivery status notifications: one multipart/report as bytes.

Promises: equal notifications give equal octets; every line ends in CRLF and has at most 998 octets; no value, whatever its source, can
add a header field, a status field or a part; the boundary does not occur in the parts; all is 7-bit, so that a next hop without
8BITMIME takes it, unless an address or a whole original message is not. Each part has the plainest type that holds it: UTF-8 in
addresses makes message/global-delivery-status, UTF-8 in the original's header makes message/global or message/global-headers.

Never decides whether a report may be made (governor.py), never reads a clock, never raises for what a peer said. The result is to be
sent with a null reverse-path; it needs SMTPUTF8 exactly when its recipient, the address in `To`, is not ASCII.

RFC 3464 (delivery-status), RFC 6522 (multipart/report), RFC 6533 (internationalised forms), RFC 3463 (status codes), RFC 3834
(Auto-Submitted).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mailmoat import clock
from mailmoat.reports.explanation import explanation, name, subject
from mailmoat.reports.line import WIDTH, Line, block
from mailmoat.reports.original import WHOLE, header_section, original_part
from mailmoat.reports.status import delivery_status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat.reports.report import Report
    from mailmoat.reports.template import Template


def render(report: Report, templates: Sequence[Template]) -> bytes:
    """Return the notification as content octets, not dot-stuffed; its text is there once for each template."""
    original = report.original
    everyone = [original.reverse_path, report.postmaster, *(recipient.address for recipient in report.recipients)]
    line = Line(utf8=not all(address.isascii() for address in everyone))
    attached = original_part(original.octets, whole=original.whole)
    parts = [
        explanation(templates, report, whole=attached.content_type in WHOLE),
        delivery_status(line, report),
        attached,
    ]
    if original.reverse_path.isascii():
        parts = [part.seven_bit() for part in parts]
    suffix, mark = 0, report.boundary
    while any(mark.encode() in part.body for part in parts):
        suffix += 1
        mark = f"{report.boundary}.{suffix}"
    fields = [
        _author(name(templates), line.address(report.postmaster)),
        f"To: <{line.address(original.reverse_path)}>",
        f"Subject: {subject(templates, report)}",
        f"Date: {clock.rfc5322_date(report.date_ms)}",
        f"Message-ID: {line.address(report.message_id)}",
        *_thread(original.octets),
        *["TLS-Required: No"] * report.tls_optional,
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{mark}"',
    ]
    if any(part.encoding == "8bit" for part in parts):
        fields.append("Content-Transfer-Encoding: 8bit")
    octets = [block(fields), b"\r\nThis is a report about a message, in MIME format.\r\n"]
    for part in parts:
        opening = [f"--{mark}", f"Content-Type: {part.content_type}", f"Content-Transfer-Encoding: {part.encoding}"]
        octets += [block(opening), b"\r\n", part.body, b"\r\n"]
    octets.append(f"--{mark}--\r\n".encode())
    return b"".join(octets)


def _author(shown: str, address: str) -> str:
    """Return the field `From`, folded when it is long."""
    break_ = "\r\n" if len(shown) + len(address) > WIDTH - len("From:  <>") else ""
    return f"From: {shown}{break_} <{address}>"


def _thread(original: bytes) -> list[str]:
    """Return the fields that let a mail reader show the report beside its message (RFC 3834 3.1.5, RFC 5322 3.6.4)."""
    pattern = rb"(?im)^message-id:[ \t]*(?:\r\n[ \t]+)?(<[!-;=?-~]{3,250}>)[ \t]*\r$"
    found = re.search(pattern, header_section(original))
    if found is None:
        return []
    message_id = found[1].decode()
    return [f"In-Reply-To: {message_id}", f"References: {message_id}"]
