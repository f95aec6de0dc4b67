"""Makes the report about a message's failed recipients as a message for the spool (RFC 3464, RFC 5321 4.5.5, 6.1).

It has a null reverse-path, so none is ever made about it. Reads what it attaches from the content file; of one that cannot be read it
attaches what is at hand. Raises nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mailmoat import _native, clock
from mailmoat.reports.dsn import Dsn, Original, render
from mailmoat.reports.original import MAX_HEADER
from mailmoat.reports.requests import envelope_id, header_alone

if TYPE_CHECKING:
    from mailmoat._native import Message
    from mailmoat.reports.dsn import Failure
    from mailmoat.reports.governor import Allowed
    from mailmoat.settings import Settings


def make(message: Message, failures: list[Failure], allowed: Allowed, queue_id: str, settings: Settings) -> Message:
    """Return the report about `message` for those that `allowed` names, under a queue id of its own."""
    wanted = message.parameters
    whole = allowed.whole and not header_alone(wanted) and _may_attach_whole(message, settings.delivery.return_size)
    octets = _octets(message, message.size if whole else MAX_HEADER)
    now = clock.wall_ms()
    domain = settings.relay.default_domain or settings.hostname
    original = Original(
        queue_id=message.queue_id,
        arrival_ms=message.arrival,
        reverse_path=message.reverse_path,
        client=message.client,
        envelope_id=envelope_id(message),
        octets=octets,
        whole=whole and len(octets) == message.size,
    )
    dsn = Dsn(
        reporting_mta=settings.hostname,
        postmaster=f"postmaster@{domain}",
        original=original,
        failures=failures,
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
        content=render(dsn),
        parameters=_parameters(allowed.recipients, wanted),
        tls_optional=message.is_tls_optional,
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
    if message.content_path is None:
        return octets
    try:
        with Path(message.content_path).open("rb") as content:
            return octets + content.read(most)
    except OSError:
        return octets
