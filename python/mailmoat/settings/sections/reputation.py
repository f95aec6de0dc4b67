"""`[reputation]`: what is remembered of the hosts that send to us, and what follows."""

from typing import Annotated, Final, Literal

from pydantic import Field, PlainValidator

from mailmoat.settings import notation, values
from mailmoat.settings.fields import Count, Wait
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section

WORST: Final = 9


def level(value: object) -> int:
    """Read a level of reputation."""
    number = values.count(value)
    if not 1 <= number <= WORST:
        raise ValueError(f"not a level from 1 to {WORST}")
    return number


class ReputationSettings(Section):
    """What is remembered of the hosts that send to us."""

    action: Annotated[
        Literal["off", "stamp", "reject"],
        PlainValidator(values.one_of("off", "stamp", "reject")),
        Form("off, stamp or reject", notation.show),
    ] = Field(
        default="stamp",
        description="What happens to mail of a source with a bad reputation: nothing, a header field, or 550 at RCPT.",
    )
    block_level: Annotated[int, PlainValidator(level), Form(f"a level from 1 to {WORST}", notation.show)] = Field(
        default=7, description="Level from which the reputation of a source is bad; 0 is the best, 9 the worst."
    )
    block_time: Wait = Field(
        default=86_400.0, description="How long a source is refused once its level is reached, in seconds."
    )
    harvest: Count = Field(
        default=50,
        description="Unknown recipients that one source tries in ten minutes and that are a harvest attack; twice as many of an IPv4 /24 or IPv6 /48 are one, too, and four times as many at one domain. 0 = off.",
    )
