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
        return_whole=_may_return_whole(message, settings.delivery.return_size),
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


def _may_return_whole(message: Message, most: int) -> bool:
    """Octets above 127 go back only to an address that needs SMTPUTF8, which comes with 8BITMIME.

    Elsewhere a next hop might not take them, and the report would be lost like the message it is about.
    """
    if message.eight_bit and message.reverse_path.isascii():
        return False
    return message.content_path is None and message.size <= most


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
