"""`[sender_filter]`: from which senders mail is not wanted."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainValidator

from mailmoat._native import sender_entry
from mailmoat.settings import notation, values
from mailmoat.settings.fields import FilterAction, OptionalPath, Switch, Wait
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section


def blocked_sender(value: object) -> str:
    """Return an entry in its normal form, as a line of the file is read."""
    return sender_entry(values.text(value))


BlockedSenders = Annotated[
    tuple[Annotated[str, PlainValidator(blocked_sender)], ...],
    BeforeValidator(values.items),
    Form(
        "addresses, domains, .example.org for a domain and all below it, or !user@example.org for an exception, comma between",
        notation.show,
    ),
]


class SenderFilterSettings(Section):
    """From which senders mail is not wanted."""

    blocked: BlockedSenders = Field(
        default=(),
        description="Senders: `user@example.org` (and its subaddresses), `example.org`, `.example.org` (the domain and all below it), `!user@example.org` (not this one). The nearest entry decides.",
    )
    blocked_file: OptionalPath = Field(
        default=None, description="File of more such entries, one on each line. Read again when it changes."
    )
    action: Annotated[
        Literal["stamp", "reject", "drop"],
        PlainValidator(values.one_of("stamp", "reject", "drop")),
        Form("stamp, reject or drop", notation.show),
    ] = Field(
        default="reject",
        description="What happens to mail of blocked senders: only the header field X-Mailmoat-Filter, 554, or accepted and dropped.",
    )
    header_from: Switch = Field(
        default=True, description="Look for the blocked senders in the From field of the message as well."
    )
    blank: FilterAction = Field(
        default="off",
        description="What happens to mail from the null sender, MAIL FROM:<>. With reject no bounce reaches you, which breaks RFC 5321 4.5.5.",
    )
    reserved_domains: FilterAction = Field(
        default="off",
        description="What happens to mail from domains that cannot exist (`test`, `example`, `invalid`, `localhost` and all below them, `example.com`, `.net`, `.org`) or have no dot.",
    )
    unresolvable: FilterAction = Field(
        default="off",
        description="What happens to mail from a domain that does not exist, has neither MX nor address, or has a null MX (RFC 7505).",
    )
    dns_failure: Annotated[
        Literal["accept", "defer"],
        PlainValidator(values.one_of("accept", "defer")),
        Form("accept or defer", notation.show),
    ] = Field(
        default="accept",
        description="What happens while the domain cannot be looked up and `sender_filter.unresolvable` is reject: accepted, or 451 so that the sender tries again.",
    )
    dns_time: Wait = Field(
        default=5.0,
        description="Time for looking the domain up, in seconds from MAIL; then it counts as a DNS failure.",
    )
