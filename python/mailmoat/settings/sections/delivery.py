"""`[delivery]`: how accepted messages are delivered."""

from typing import Annotated, Final

from pydantic import Field, PlainValidator

from mailmoat.settings import notation, values
from mailmoat.settings.fields import Duration, Positive, Wait
from mailmoat.settings.next_hop import OptionalNextHop
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section

LARGEST_RETURN: Final = 128 << 10
"""Octets of a message that a report can hold: a report is made in memory and stored like any message, the message in it."""


def original_size(value: object) -> int:
    """Read the octets up to which a message is returned whole; ValueError for more than a report can hold."""
    octets = values.size(value)
    if octets > LARGEST_RETURN:
        raise ValueError("more than a report can hold")
    return octets


def retry_waits(value: object) -> tuple[float, ...]:
    """Read the seconds between attempts from `1m*4, 10m*6, 30m`; the last one repeats."""
    waits: list[float] = []
    for item in values.items(value):
        wait, star, times = str(item).partition("*") if isinstance(item, str) else (item, "", "")
        seconds, repeat = values.duration(wait), values.positive(times) if star else 1
        if seconds < 1 or len(waits) + repeat > 1000:  # noqa: PLR2004 - the reason is in the text
            raise ValueError("a wait below one second" if seconds < 1 else "more than 1000 waits")
        waits.extend([seconds] * repeat)
    if not waits:
        raise ValueError("no wait in it")
    return tuple(waits)


class DeliverySettings(Section):
    """How accepted messages are delivered."""

    next_hop: OptionalNextHop = Field(
        default=None, description="Where accepted messages go. Without one they stay in the spool until they expire."
    )
    connections: Positive = Field(default=20, description="Connections to the next hop at the same time, per worker.")
    retry: Annotated[
        tuple[float, ...],
        PlainValidator(retry_waits),
        Form("waits such as 1m*4, 10m*6, 30m", notation.show_retry),
    ] = Field(
        default=retry_waits("1m*4, 10m*6, 30m"),
        description="Waits between the attempts for one message; the last one repeats. `10m*6` is six times ten minutes.",
    )
    expire: Duration = Field(
        default=432_000.0,
        description="Age, in seconds, at which an undelivered message expires and its sender gets a bounce.",
    )
    connect_time: Wait = Field(default=30.0, description="Wait for a connection to the next hop, in seconds.")
    greeting_time: Wait = Field(default=300.0, description="Wait for the next hop's greeting, in seconds.")
    mail_time: Wait = Field(default=300.0, description="Wait for the reply to MAIL, in seconds.")
    rcpt_time: Wait = Field(default=300.0, description="Wait for the reply to RCPT, in seconds.")
    data_time: Wait = Field(default=120.0, description="Wait for the reply to DATA, in seconds.")
    block_time: Wait = Field(
        default=180.0, description="Wait until the next hop accepts a block of content, in seconds."
    )
    end_of_data_time: Wait = Field(default=600.0, description="Wait for the reply to the end of data, in seconds.")
    idle_time: Wait = Field(
        default=5.0, description="How long an unused connection to the next hop is kept, in seconds."
    )
    return_size: Annotated[
        int,
        PlainValidator(original_size),
        Form(f"octets, up to {notation.show_size(LARGEST_RETURN)}, such as 50000 or 64KiB", notation.show_size),
    ] = Field(
        default=50_000,
        description="Octets up to which a bounce to a verified sender contains the complete message; otherwise it contains the header section.",
    )
