"""The part of a report for people: what happened, to whom, what to do, in the languages of its templates.

Pure. Promises: text/plain in lines that fit, in ASCII or UTF-8; no value of a stranger ends a line. Raises nothing for what a peer said.
"""

from __future__ import annotations

import re
from email.errors import MessageError
from email.header import Header, decode_header, make_header
from email.utils import quote
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat.reports.line import Line
from mailmoat.reports.original import Part, encoding_of, header_field
from mailmoat.reports.status import CLASS_OF_KIND, status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat.reports.folded import Folded
    from mailmoat.reports.kind import ReportKind
    from mailmoat.reports.report import Report, ReportedRecipient
    from mailmoat.reports.template import Template

MAX_SUBJECT: Final = 100
"""Characters of the original's subject that are shown."""
MOST_OTHERS: Final = 100
"""Other messages that are named."""
BETWEEN: Final = "\r\n\r\n" + "=" * 60 + "\r\n\r\n"
"""Between two languages."""
_ATOMS: Final = re.compile(r"[\w !#$%&'*+/=?^`{|}~-]+", re.ASCII)
_LINE: Final = Line(utf8=True)


def explanation(templates: Sequence[Template], report: Report, *, whole: bool) -> Part:
    """Write the part; `whole`: the message is attached, not its header section alone."""
    text = BETWEEN.join(_text(template, report, whole=whole) for template in templates) + "\r\n"
    body = text.encode()
    charset = "us-ascii" if body.isascii() else "utf-8"
    languages = ", ".join(template.language for template in templates)
    return Part(f"text/plain; charset={charset}\r\nContent-Language: {languages}", encoding_of(body), body)


def subject(templates: Sequence[Template], report: Report) -> str:
    """Return the value of the field `Subject`, encoded (RFC 2047) and folded."""
    values = {"server": report.reporting_mta, "subject": _subject(report.original.octets)}
    section = f"{report.kind}.subject"
    return _encoded(" / ".join(_cut(template.fill(section, **values)) for template in templates), "Subject")


def name(templates: Sequence[Template]) -> str:
    """Return the name of who sends the report, as `From` has it before the address: a phrase, in quotes where it is no atoms (RFC 5322 3.2.5)."""
    written = _cut(templates[0].fill("name"))
    if written.isascii() and not _ATOMS.fullmatch(written):
        return f'"{quote(written)}"' if written else ""
    return _encoded(written, "From")


def _text(template: Template, report: Report, *, whole: bool) -> str:
    original = report.original
    until = [one.will_retry_until_ms for one in report.recipients if one.will_retry_until_ms is not None]
    return template.fill(
        f"{report.kind}.text",
        server=report.reporting_mta,
        subject=_subject(original.octets),
        date=clock.plain_date(original.arrival_ms),
        until=clock.plain_date(until[0]) if until else "",
        recipients="\r\n\r\n".join(_recipient(template, one, report.kind) for one in report.recipients),
        others=_others(template, report.others),
        postmaster=_LINE.address(report.postmaster),
        queue_id=original.queue_id,
        attached=template.fill("attached.whole" if whole else "attached.header"),
    )


def _recipient(template: Template, recipient: ReportedRecipient, kind: ReportKind) -> str:
    reason = said = ""
    if kind in CLASS_OF_KIND:  # not a success
        time = template.span(recipient.expired_after_s) if recipient.expired_after_s is not None else ""
        reason = template.reason(status(recipient, kind), time=time, address=recipient.address)
        origin = "said.remote" if recipient.remote_mta else "said.own"
        said = template.fill(origin, remote=recipient.remote_mta, reply=recipient.reply)
    return template.fill("recipient", address=_LINE.address(recipient.address), reason=reason, said=said)


def _others(template: Template, others: Sequence[Folded]) -> str:
    """Name other messages of the sender that failed, the first of many."""
    if not others:
        return ""
    blocks = [_other(one) for one in others[:MOST_OTHERS]]
    if len(others) > MOST_OTHERS:
        blocks.append(f"(+{len(others) - MOST_OTHERS})")
    return template.fill("others", messages="\r\n\r\n".join(blocks))


def _other(other: Folded) -> str:
    lines = [f"{clock.plain_date(other.arrival_ms)}, {other.queue_id}"]
    lines += [_LINE.fold(f"{address}: {reply}", first="  ", rest="    ") for address, reply in other.failures]
    if other.left_out:
        lines.append(f"  (+{other.left_out})")
    return "\r\n".join(lines)


def _subject(octets: bytes) -> str:
    """Return the original's subject as its reader saw it, in one line, cut where it is long."""
    written = header_field(octets, "Subject")
    try:
        read = str(make_header(decode_header(written)))
    except (MessageError, ValueError, LookupError):  # it breaks RFC 2047
        read = written
    return _cut(read)


def _cut(text: str) -> str:
    """Return a text in one line, cut where it is long."""
    plain = " ".join(_LINE.clean(text).split())
    return plain if len(plain) <= MAX_SUBJECT else plain[: MAX_SUBJECT - 1] + "\u2026"


def _encoded(text: str, field: str) -> str:
    plain = _LINE.clean(text)
    charset = "us-ascii" if plain.isascii() else "utf-8"
    return Header(plain, charset, header_name=field, maxlinelen=76).encode(linesep="\r\n")
