"""Makes the report about a message's failed recipients as a message of the spool (RFC 3464, RFC 5321 4.5.5, 6.1).

It has a null reverse-path, so none is ever made about it. Reads the header section of a content file; raises nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mailmoat import _native, clock
from mailmoat.delivery.dsn import Reported, make_report
from mailmoat.delivery.returned import MAX_HEADER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat._native import Message
    from mailmoat.delivery.dsn import Failure
    from mailmoat.settings import Settings


def make(
    message: Message, failures: list[Failure], recipients: Sequence[str], queue_id: str, settings: Settings
) -> Message:
    """The report about `message`, to `recipients`, under a queue id of its own."""
    now = clock.wall_ms()
    domain = settings.relay.default_domain or settings.hostname
    content = make_report(
        reporting_mta=settings.hostname,
        postmaster=f"postmaster@{domain}",
        message=Reported(message.queue_id, message.arrival, message.reverse_path, message.client),
        failures=failures,
        original=_original(message),
        return_whole=message.content_path is None and message.size <= settings.delivery.return_size,
        date_ms=now,
        message_id=f"<{queue_id}@{settings.hostname}>",
        boundary=f"report.{queue_id}",
    )
    return _native.Message(
        queue_id=queue_id,
        arrival=now,
        reverse_path="",
        recipients=list(recipients),
        content=content,
        smtputf8=not all(address.isascii() for address in recipients),
    )


def _original(message: Message) -> bytes:
    """The message, or the beginning of it that holds the header section."""
    octets = message.octets()
    if message.content_path is None:
        return octets
    try:
        with Path(message.content_path).open("rb") as content:
            return octets + content.read(MAX_HEADER)
    except OSError:
        return octets
