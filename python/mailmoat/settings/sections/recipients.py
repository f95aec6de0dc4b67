"""`[recipients]`: which recipients exist."""

from typing import Annotated, Final

from pydantic import BeforeValidator, Field, PlainValidator

from mailmoat.settings import notation, values
from mailmoat.settings.fields import OptionalPath, Switch
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section

DELIMITERS: Final = "+-=_.#&*~^$'"
"""What may begin a subaddress (RFC 5233): no letter or digit, and nothing that servers route by."""


def delimiter(value: object) -> str:
    """Read some of `DELIMITERS`, or nothing."""
    written = str(value).strip()
    for character in written:
        if character not in DELIMITERS:
            raise ValueError(f"{character} begins no subaddress")
    return written


_FORM: Final = Form("characters such as + or +-, or nothing", notation.show)
Delimiter = Annotated[str, PlainValidator(delimiter), _FORM]
OptionalDelimiter = Annotated[str | None, PlainValidator(delimiter), _FORM]

BlockedRecipients = Annotated[
    tuple[Annotated[str, PlainValidator(values.mailbox)], ...],
    BeforeValidator(values.items),
    Form("addresses such as all@example.com, separated by commas", notation.show),
]
"""As they are written, since their domain says which spellings are one."""


class RecipientsSettings(Section):
    """Which recipients exist."""

    file: OptionalPath = Field(
        default=None,
        description="File of the recipients that exist: an address, `@domain` or `!address` per line. Read again when it changes.",
    )
    delimiter: Delimiter = Field(
        default="+",
        description="Characters that begin a subaddress: `alice+tag` exists when `alice` does. Empty = off.",
    )
    postmaster: Annotated[
        str | None,
        PlainValidator(values.optional(values.report_address)),
        Form("an address such as admin@example.com", notation.show),
    ] = Field(
        default=None,
        description="Address that gets mail for postmaster at a local domain, which is always accepted. Without one, the next hop must accept postmaster at each domain.",
    )
    abuse: Annotated[
        str | None,
        PlainValidator(values.optional(values.report_address)),
        Form("an address such as admin@example.com", notation.show),
    ] = Field(
        default=None,
        description="Address that gets mail for abuse (RFC 2142) at a local domain, which is then accepted at each of them. Without one, abuse is a recipient as any other.",
    )
    blocked: BlockedRecipients = Field(
        default=(), description="Recipients refused although they exist, and their subaddresses with them."
    )
    lookup: Switch = Field(
        default=True,
        description="Refuse unknown recipients at RCPT. Off: they are accepted and cause a bounce later.",
    )
