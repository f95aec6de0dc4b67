"""`[ndr]`: bounces about messages that could not be delivered, and how many there may be."""

from typing import Annotated

from pydantic import Field, PlainValidator, field_validator

from mailmoat.settings import copies
from mailmoat.settings.fields import Count, Duration, OptionalRate, Switch
from mailmoat.settings.next_hop import NextHop, OptionalNextHop
from mailmoat.settings.notation import Form
from mailmoat.settings.rate import Rate
from mailmoat.settings.section import Section

HOUR = 3600


class NdrSettings(Section):
    """Bounces about messages that could not be delivered."""

    enabled: Switch = Field(
        default=True, description="Send bounces (non-delivery reports). RFC 5321 6.1 requires them."
    )
    copy_to: Annotated[
        tuple[copies.Copy, ...],
        PlainValidator(copies.parse),
        Form(
            'an address such as postmaster@example.com, or addresses by status such as {"5.1" = "directory@example.com", "*" = "postmaster@example.com"}',
            copies.show,
        ),
    ] = Field(
        default=(),
        description="Address that gets a copy of every bounce; or a table of addresses by status (`4.4.7`), by its beginning (`5.1`, `5`), or `*`: the longest one counts. In the environment `5.1=directory@example.com, *=postmaster@example.com`.",
    )
    unresolved_next_hop: OptionalNextHop = Field(
        default=None,
        description="Where recipients at local domains go that the next hop refuses with 5.1.1 or 5.1.10, or, with `recipients.lookup = false`, that the recipient file does not have: instead of a bounce.",
    )
    per_address: OptionalRate = Field(
        default=Rate(10, HOUR, 10),
        description="Bounces to one address because of mail from outside. Further ones are suppressed.",
    )
    per_domain: OptionalRate = Field(
        default=Rate(100, HOUR, 100), description="Bounces to all addresses at one domain because of mail from outside."
    )
    total: OptionalRate = Field(
        default=Rate(1000, HOUR, 1000), description="All bounces of this server because of mail from outside."
    )
    inside_per_address: OptionalRate = Field(
        default=Rate(1000, HOUR, 1000),
        description="Bounces to one address because of mail of internal and authenticated clients, which have budgets of their own.",
    )
    inside_per_domain: OptionalRate = Field(
        default=Rate(5000, HOUR, 5000),
        description="Bounces to all addresses at one domain because of mail from inside.",
    )
    inside_total: OptionalRate = Field(
        default=Rate(10_000, HOUR, 10_000), description="All bounces of this server because of mail from inside."
    )
    fold_time: Duration = Field(
        default=60.0,
        description="How long further failures wait after a bounce to the same address, in seconds: one bounce then names them all. Only for mail from outside without DSN parameters. 0 = off.",
    )
    flood_alarm: Count = Field(
        default=50,
        description="Bounces in ten minutes for which a budget has no room and that are a flood: an event in the log, and a reason in the health. 0 = off.",
    )
    check_domain: Switch = Field(
        default=True,
        description="Look up the domain of a sender outside, and send no bounce to one that does not exist or accepts no mail.",
    )

    @field_validator("unresolved_next_hop")
    @classmethod
    def _is_a_server(cls, value: NextHop | None) -> NextHop | None:
        if value is not None and value.kind == "mx":
            raise ValueError("the MX records of a local domain name this server")
        return value
