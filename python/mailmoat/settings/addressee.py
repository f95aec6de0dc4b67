"""Who gets messages by a setting: an address that any next hop can take, since what goes there may not carry SMTPUTF8 (RFC 6531 3.3)."""

from __future__ import annotations

from mailmoat.settings.values import mailbox


def addressee(value: object) -> str:
    """An address with a domain, normalised; ValueError when its local part is not ASCII."""
    address = mailbox(value)
    if not address.isascii():
        raise ValueError("the local part is not ASCII, and not every message may go there")
    return address
