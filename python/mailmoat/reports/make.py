"""Makes the report about some of a message's recipients as a message for the spool (RFC 3464, RFC 5321 4.5.5, 6.1).

It has a null reverse-path, so none is ever made about it. Reads what it attaches from the content file; of one that cannot be read it
attaches what is at hand. Raises nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat import _native, clock, maillog
from mailmoat.events import Event
from mailmoat.reports import languages
from mailmoat.reports.dsn import render
from mailmoat.reports.kind import ReportKind
from mailmoat.reports.original import MAX_HEADER
from mailmoat.reports.report import Original, Report
from mailmoat.reports.requests import envelope_id, header_alone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat._native import Message
    from mailmoat.reports.folded import Folded
    from mailmoat.reports.governor import Allowed
    from mailmoat.reports.report import ReportedRecipient
    from mailmoat.reports.template import Template
    from mailmoat.settings import Settings


class ReportMaker:
    """Makes the reports of one worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._templates = languages.shipped()
        self.read_texts()

    def read_texts(self) -> None:
        """Read the files of `reports.templates`, also again; what cannot be used is in the log and changes nothing."""
        self._templates, mistakes = languages.load(self._settings.reports.templates, self._templates)
        for mistake in mistakes:
            maillog.event(Event.REPORT_TEXT_NOT_USED, detail=mistake)

    def make(
        self,
        message: Message,
        kind: ReportKind,
        recipients: list[ReportedRecipient],
        allowed: Allowed,
        queue_id: str,
        *,
        others: Sequence[Folded] = (),
    ) -> Message:
        """Return the report about `message` for those that `allowed` names, under a queue id of its own.

        `others` are messages of the same sender that failed, too.
        """
        settings, wanted, now = self._settings, message.parameters, clock.wall_ms()
        original = self._original(message, may_be_whole=allowed.whole and kind is ReportKind.FAILED)
        report = Report(
            kind=kind,
            reporting_mta=settings.hostname,
            postmaster=f"postmaster@{settings.relay.default_domain or settings.hostname}",
            original=original,
            recipients=recipients,
            others=others,
            date_ms=now,
            message_id=f"<{queue_id}@{settings.hostname}>",
            tls_optional=message.is_tls_optional,
            boundary=f"report.{queue_id}",
        )
        return _native.Message(
            queue_id=queue_id,
            arrival=now,
            reverse_path="",
            recipients=list(allowed.recipients),
            content=render(report, self._texts(original)),
            parameters=_parameters(allowed.recipients, wanted),
            tls_optional=message.is_tls_optional,
        )

    def _texts(self, original: Original) -> list[Template]:
        """Return the templates of the languages that the message asks for, else of those that are set; English if there are none."""
        settings = self._settings.reports
        tags = languages.chosen(original.octets, self._templates) if settings.match_original else ()
        found = [self._templates[tag] for tag in tags or settings.languages if tag in self._templates]
        return found or [self._templates["en"]]

    def _original(self, message: Message, *, may_be_whole: bool) -> Original:
        """Return what is known of the message; without a failure the header section is enough (RFC 3461 6.2)."""
        size = self._settings.delivery.return_size
        whole = may_be_whole and not header_alone(message.parameters) and _may_attach_whole(message, size)
        octets = _octets(message, message.size if whole else MAX_HEADER)
        return Original(
            queue_id=message.queue_id,
            arrival_ms=message.arrival,
            reverse_path=message.reverse_path,
            client=message.client,
            envelope_id=envelope_id(message),
            octets=octets,
            whole=whole and len(octets) == message.size,
        )


def _parameters(recipients: tuple[str, ...], original: dict[str, str | None]) -> dict[str, str | None]:
    """Return the parameters of MAIL: a report is protected as the message that it is about was to be (RFC 8689 5)."""
    wanted = {"SMTPUTF8": not all(address.isascii() for address in recipients), "REQUIRETLS": "REQUIRETLS" in original}
    return {keyword: None for keyword, is_wanted in wanted.items() if is_wanted}


def _may_attach_whole(message: Message, most: int) -> bool:
    """Return the part that may be sent: octets above 127 only to an address that needs SMTPUTF8, which implies 8BITMIME.

    Elsewhere a next hop might not take them, and the report would be lost like the message it is about.
    """
    if message.eight_bit and message.reverse_path.isascii():
        return False
    return message.size <= most


def _octets(message: Message, most: int = MAX_HEADER) -> bytes:
    """Return the message; of one with a content file the trace and the first `most` octets of the file, which hold the header section."""
    octets = message.octets()
    try:
        content = message.open_content()
        return octets if content is None else octets + content.read(most)
    except OSError:
        return octets
