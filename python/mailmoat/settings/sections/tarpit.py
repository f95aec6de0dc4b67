"""`[tarpit]`: how long refusals are held."""

from typing import Annotated, Final

from pydantic import Field, PlainValidator

from mailmoat.settings import notation, values
from mailmoat.settings.fields import Count, Duration, Networks, Positive, Switch
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section

LONGEST_TIME: Final = 240
"""Seconds. RFC 5321 4.5.3.2 lets a client give up on a reply after five minutes; a minute is left for the way."""


def tarpit_time(value: object) -> float:
    """Read a duration that no client's patience ends before: at most `LONGEST_TIME`."""
    seconds = values.duration(value)
    if seconds > LONGEST_TIME:
        raise ValueError(f"longer than {LONGEST_TIME} s, when legitimate clients give up")
    return seconds


TarpitTime = Annotated[
    float,
    PlainValidator(tarpit_time),
    Form(f"a duration up to {LONGEST_TIME} s, such as 5 or 2.5s", notation.show_duration),
]


class TarpitSettings(Section):
    """Holding 5xx replies back, so that harvesting addresses does not pay."""

    time: TarpitTime = Field(
        default=0.0,
        description="How long each 5xx reply to an unauthenticated client is held, in seconds. 0 = off; 5 is usual.",
    )
    auth_time: TarpitTime = Field(
        default=5.0,
        description="How long the 535 reply to a failed AUTH is held at least, in seconds. 0 = as `tarpit.time`.",
    )
    escalate: Switch = Field(
        default=False, description="Hold a source longer than `tarpit.time`, the more unknown recipients it tries."
    )
    escalate_after: Positive = Field(
        default=10, description="Unknown recipients of a source with which its delay doubles, and doubles again."
    )
    escalate_max: TarpitTime = Field(default=30.0, description="The longest of these delays, in seconds.")
    exempt_networks: Networks = Field(default=(), description="Networks whose clients are never held.")
    max_held: Count = Field(
        default=50_000,
        description="Sessions held at the same time on this machine; beyond it the longest held is closed with 421. 0 = no bound.",
    )
    max_session: Duration = Field(
        default=180.0, description="Sum of all delays in one session, in seconds; then 421 and close. 0 = no bound."
    )
