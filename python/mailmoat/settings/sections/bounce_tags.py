"""`[bounce_tags]`: signed reverse-paths of what we send, by which bounces to us are checked."""

from typing import Annotated, Final, Literal

from pydantic import Field, PlainValidator

from mailmoat.settings import notation, values
from mailmoat.settings.fields import Domains, Positive, Recipients
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section

MOST_DAYS: Final = 100


def valid_days(value: object) -> int:
    """Read the days for which a tag holds."""
    days = values.positive(value)
    if days > MOST_DAYS:
        raise ValueError(f"more than {MOST_DAYS} days")
    return days


class BounceTagsSettings(Section):
    """Signed reverse-paths of what we send, by which bounces to us are checked."""

    mode: Annotated[
        Literal["off", "sign", "stamp", "reject"],
        PlainValidator(values.one_of("off", "sign", "stamp", "reject")),
        Form("off, sign, stamp or reject", notation.show),
    ] = Field(
        default="off",
        description="What tags are for. `sign`: what leaves for MX hosts gets a tag in its reverse-path, and tags are removed from recipients. `stamp`: also, a bounce to an address of ours without a valid tag gets a header field. `reject`: it is refused with 550 5.7.1 at RCPT.",
    )
    unsigned_domains: Domains = Field(
        default=(),
        description="Domains of recipients to which nothing is signed: those of mailing lists that know their members by the reverse-path.",
    )
    exempt: Recipients = Field(
        default=(),
        description="Addresses of ours that are never signed and whose bounces need no tag: those that send through other servers, too.",
    )
    days: Annotated[int, PlainValidator(valid_days), Form("days from 1 to 100", notation.show)] = Field(
        default=7,
        description="Days for which a tag holds: as long as a server may try to deliver a message, and the bounce after it.",
    )
    rotate_days: Positive = Field(
        default=90, description="Days after which a new key is made. The old one still checks tags."
    )
