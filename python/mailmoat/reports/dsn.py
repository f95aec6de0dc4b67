"""Delivery status notifications about failed recipients: one multipart/report as bytes, written from a template.

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
import textwrap
from dataclasses import dataclass
from typing import Final

from mailmoat import clock
from mailmoat._native import decode_unitext, decode_xtext
from mailmoat.net.address import literal
from mailmoat.reports.original import WHOLE, Part, encoding_of, header_section, original_part

MAX_ADDRESS: Final = 900
"""Octets of an address in a field; no legal one comes near."""
MAX_REPLY: Final = 2_000
"""Characters of a reply that are quoted."""

EXPIRED: Final = "4.4.7"
"""Delivery time expired. It stays in class 4 beside `Action: failed`: abandoned for age, and sending again may help (RFC 3463 2)."""

STATUS_OF_CODE: Final = {
    "450": "4.2.0", "451": "4.3.0", "452": "4.3.1",
    "500": "5.5.2", "501": "5.5.4", "502": "5.5.1", "503": "5.5.1", "504": "5.5.4", "555": "5.5.4",
    "551": "5.1.6", "552": "5.2.2", "553": "5.1.3",
}  # fmt: skip
"""What a reply without an enhanced code most likely meant; any other is `4.0.0` or `5.0.0`: undefined, never a guess."""


@dataclass(frozen=True, slots=True)
class Original:
    """The message that the notification is about."""

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
class Failure:
    """One recipient that failed for good."""

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


@dataclass(frozen=True, slots=True)
class Dsn:
    """What a notification says."""

    reporting_mta: str
    postmaster: str
    original: Original
    failures: list[Failure]
    date_ms: int
    message_id: str
    """With its brackets."""
    boundary: str
    """1 to 60 octets; lengthened when the parts contain it."""
    tls_optional: bool = False
    """TLS is not required for it, as it was not for the message (RFC 8689 3)."""


def render(dsn: Dsn) -> bytes:
    """Return the notification as content octets, not dot-stuffed."""
    original = dsn.original
    everyone = [original.reverse_path, dsn.postmaster, *(failure.address for failure in dsn.failures)]
    line = _Line(utf8=not all(address.isascii() for address in everyone))
    attached = original_part(original.octets, whole=original.whole)
    if original.reverse_path.isascii():
        attached = attached.seven_bit()
    parts = (
        _explanation(line, dsn, whole=attached.content_type in WHOLE),
        _delivery_status(line, dsn),
        attached,
    )
    suffix, mark = 0, dsn.boundary
    while any(mark.encode() in part.body for part in parts):
        suffix += 1
        mark = f"{dsn.boundary}.{suffix}"
    fields = [
        f"From: Mail Delivery System <{line.address(dsn.postmaster)}>",
        f"To: <{line.address(original.reverse_path)}>",
        "Subject: Delivery Status Notification (Failure)",
        f"Date: {clock.rfc5322_date(dsn.date_ms)}",
        f"Message-ID: {line.address(dsn.message_id)}",
        *_thread(original.octets),
        *["TLS-Required: No"] * dsn.tls_optional,
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{mark}"',
    ]
    if any(part.encoding == "8bit" for part in parts):
        fields.append("Content-Transfer-Encoding: 8bit")
    octets = [_block(fields), b"\r\nThis is a report about a message, in MIME format.\r\n"]
    for part in parts:
        opening = [f"--{mark}", f"Content-Type: {part.content_type}", f"Content-Transfer-Encoding: {part.encoding}"]
        octets += [_block(opening), b"\r\n", part.body, b"\r\n"]
    octets.append(f"--{mark}--\r\n".encode())
    return b"".join(octets)


def status(failure: Failure) -> str:
    """Return the status code of a failure: expiry, else the enhanced code of its reply, else what its code says (RFC 3463)."""
    if failure.expired_after_s is not None:
        return EXPIRED
    enhanced = re.match(r"(?:[45][0-9]{2}[ -])?([45]\.[0-9]{1,3}\.[0-9]{1,3})(?![0-9.])", failure.reply)
    if enhanced:
        return enhanced[1]
    code = failure.reply[:3]
    return STATUS_OF_CODE.get(code, "4.0.0" if re.match("4[0-9]{2}", code) else "5.0.0")


_BREAKS_LINES = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


@dataclass(frozen=True, slots=True)
class _Line:
    """Makes values of strangers fit for a line; with `utf8` non-ASCII characters are kept, else they are spelled out."""

    utf8: bool

    def address(self, value: str) -> str:
        """Return one line unchanged but limited: folding could change an address."""
        return self._clean(value).encode()[:MAX_ADDRESS].decode(errors="ignore")

    def fold(self, value: str, *, first: str, rest: str) -> str:
        """Return free text in lines of about 76 characters, begun with `first` and then with `rest`; words up to 200 stay whole."""
        words = re.sub(r"(\S{200})", r"\1 ", self._clean(value[:MAX_REPLY]))
        lines = textwrap.wrap(
            words,
            width=76,
            initial_indent=first,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        )
        return "\r\n".join(lines) or first.rstrip()

    def _clean(self, value: str) -> str:
        plain = _BREAKS_LINES.sub(" ", value)
        return plain if self.utf8 else _NOT_ASCII.sub(lambda found: f"\\x{{{ord(found[0]):X}}}", plain)


def _block(lines: list[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode()


def _explanation(line: _Line, dsn: Dsn, *, whole: bool) -> Part:
    """Write the part for people."""
    attached = "your message" if whole else "the header of your message"
    original, failures = dsn.original, dsn.failures
    paragraphs = [
        line.fold(f"This is the mail server {dsn.reporting_mta}.", first="", rest=""),
        line.fold(
            f"Your message of {clock.rfc5322_date(original.arrival_ms)} could not be delivered to the "
            f"{'recipient' if len(failures) == 1 else 'recipients'} below. No further attempt will be made.",
            first="",
            rest="",
        ),
        *(f"  {line.address(failure.address)}\r\n{_reason(line, failure)}" for failure in failures),
        line.fold(
            "Please look for a typing mistake in the address before you send the message again. For help write to "
            f"{dsn.postmaster} and quote {original.queue_id}.",
            first="",
            rest="",
        ),
        line.fold(f"A report for programs and {attached} are attached.", first="", rest=""),
    ]
    body = "\r\n\r\n".join(paragraphs) + "\r\n"
    charset = "utf-8" if line.utf8 else "us-ascii"
    return Part(f"text/plain; charset={charset}\r\nContent-Language: en", encoding_of(body.encode()), body.encode())


def _reason(line: _Line, failure: Failure) -> str:
    """Return the reason in words: which server said what, or for how long it was tried."""
    reply = failure.reply or "no reply"
    if failure.expired_after_s is not None:
        why = f"It could not be delivered within {_span(failure.expired_after_s)}. The last reason was: {reply}"
    elif failure.remote_mta:
        why = f"The server {failure.remote_mta} refused it: {reply}"
    else:
        why = f"The reason is: {reply}"
    return line.fold(why, first="    ", rest="    ")


_UNITS: Final = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def _span(seconds: float) -> str:
    unit, size = next((unit for unit in _UNITS if seconds >= unit[1]), _UNITS[-1])
    count = f"{seconds / size:.3g}"
    return f"{count} {unit}" if count == "1" else f"{count} {unit}s"


def _delivery_status(line: _Line, dsn: Dsn) -> Part:
    """Write the part for programs (RFC 3464 2.2 and 2.3)."""
    original = dsn.original
    fields = [
        f"Reporting-MTA: dns; {line.address(dsn.reporting_mta)}",
        f"Arrival-Date: {clock.rfc5322_date(original.arrival_ms)}",
        f"X-Mailmoat-Queue-ID: {line.address(original.queue_id)}",
    ]
    if original.envelope_id:
        fields.insert(0, f"Original-Envelope-Id: {line.address(original.envelope_id)}")
    if original.client:
        fields.insert(-2, f"Received-From-MTA: dns; {line.address(_mta_name(original.client))}")
    for failure in dsn.failures:
        kind = "rfc822" if failure.address.isascii() else "utf-8"
        fields += [
            "",
            *_original_recipient(line, failure.original),
            f"Final-Recipient: {kind}; {line.address(failure.address)}",
            "Action: failed",
            f"Status: {status(failure)}",
        ]
        if failure.remote_mta:
            fields.append(f"Remote-MTA: dns; {line.address(_mta_name(failure.remote_mta))}")
        if failure.reply:
            said_by = "smtp" if re.match("[2-5][0-9]{2}(?![0-9])", failure.reply) else "X-Mailmoat"
            fields.append(line.fold(failure.reply, first=f"Diagnostic-Code: {said_by}; ", rest=" "))
        if failure.last_attempt_ms is not None:
            fields.append(f"Last-Attempt-Date: {clock.rfc5322_date(failure.last_attempt_ms)}")
    body = _block(fields)
    return Part("message/global-delivery-status" if line.utf8 else "message/delivery-status", encoding_of(body), body)


def _original_recipient(line: _Line, original: str) -> list[str]:
    """Return the field for ORCPT, decoded (RFC 3461 6.3); an address of the type utf-8 stays encoded in a part of ASCII (RFC 6533 3)."""
    kind, _, encoded = original.partition(";")
    if not encoded:
        return []
    is_utf8 = kind.lower() == "utf-8"
    decode = decode_unitext if is_utf8 else decode_xtext
    address = encoded if is_utf8 and not line.utf8 else decode(encoded)
    return [f"Original-Recipient: {line.address(kind)}; {line.address(address)}"]


def _mta_name(client: str) -> str:
    """Return an IP address as a literal (RFC 5321 4.1.3), a name as it is."""
    try:
        return literal(client)
    except ValueError:
        return client


def _thread(original: bytes) -> list[str]:
    """Return the fields that let a mail reader show the report beside its message (RFC 3834 3.1.5, RFC 5322 3.6.4)."""
    pattern = rb"(?im)^message-id:[ \t]*(?:\r\n[ \t]+)?(<[!-;=?-~]{3,250}>)[ \t]*\r$"
    found = re.search(pattern, header_section(original))
    if found is None:
        return []
    message_id = found[1].decode()
    return [f"In-Reply-To: {message_id}", f"References: {message_id}"]
