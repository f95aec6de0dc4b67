"""What a client leaves out of a message that it submits, and a server adds (RFC 6409 8.2, 8.3): Date and Message-ID.

Only for a client that has authenticated at a listener for submission: another server's message goes on as it is (RFC 5321 6.4). Fields that
are there stay, whatever they say. Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mailmoat.policy.client import Client

_DATE: Final = re.compile(rb"^date[ \t]*:", re.IGNORECASE | re.MULTILINE)
_MESSAGE_ID: Final = re.compile(rb"^message-id[ \t]*:", re.IGNORECASE | re.MULTILINE)


def is_submission(client: Client) -> bool:
    """Return whether what the client sends is new mail of one of our accounts."""
    return client.listener.submission and client.trust.authenticated


def missing_fields(header: bytes, *, date: str, message_id: str) -> bytes:
    """Return the fields that a header section lacks, each with its CRLF; `message_id` without brackets."""
    fields = []
    if not _DATE.search(header):
        fields.append(f"Date: {date}\r\n")
    if not _MESSAGE_ID.search(header):
        fields.append(f"Message-ID: <{message_id}>\r\n")
    return "".join(fields).encode()
