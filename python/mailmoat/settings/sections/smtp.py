"""`[smtp]`: the SMTP dialogue."""

from typing import Annotated, Literal

from pydantic import Field, PlainValidator

from mailmoat.settings import notation, values
from mailmoat.settings.fields import Networks, Switch
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section


class SmtpSettings(Section):
    """The dialogue."""

    chunking: Switch = Field(
        default=True, description="Offer CHUNKING and take BDAT; with it BINARYMIME, if the next hop offers that."
    )
    bare_newline: Annotated[
        Literal["refuse", "normalise"],
        PlainValidator(values.one_of("refuse", "normalise")),
        Form("refuse or normalise", notation.show),
    ] = Field(
        default="refuse",
        description="What happens to a bare CR or LF: refuse the content, or make it CRLF.",
    )
    early_talkers: Annotated[
        Literal["off", "note", "refuse"],
        PlainValidator(values.one_of("off", "note", "refuse")),
        Form("off, note or refuse", notation.show),
    ] = Field(
        default="note",
        description="What happens to a client that talks before the greeting: nothing, a note in the log and for its reputation, or 421 and close.",
    )
    nul_in_header: Annotated[
        Literal["refuse", "accept"],
        PlainValidator(values.one_of("refuse", "accept")),
        Form("refuse or accept", notation.show),
    ] = Field(
        default="refuse",
        description="What happens to a NUL in a header field: refuse the content, or pass it on as it is.",
    )
    xclient_networks: Networks = Field(
        default=(),
        description="Networks of servers in front of this one that say by XCLIENT who their client is. They can claim any client.",
    )
    xforward_networks: Networks = Field(
        default=(),
        description="Networks of servers that say by XFORWARD where a message comes from. It is logged, and has no other effect.",
    )
