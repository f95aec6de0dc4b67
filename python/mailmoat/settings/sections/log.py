"""`[log]`: the log, on standard output."""

from typing import Annotated, Final, Literal

from pydantic import Field, PlainValidator

from mailmoat.settings import notation, values
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section

FORMATS: Final = ("auto", "json", "human")
LEVELS: Final = ("debug", "info", "warning", "error")


class LogSettings(Section):
    """The log, on standard output."""

    format: Annotated[
        Literal["auto", "json", "human"],
        PlainValidator(values.one_of(*FORMATS)),
        Form("auto, json or human", notation.show),
    ] = Field(default="auto", description="JSON, or readable lines; auto: readable lines on a terminal, else JSON.")
    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        PlainValidator(values.one_of(*LEVELS)),
        Form("debug, info, warning or error", notation.show),
    ] = Field(default="info", description="Lowest level that is logged.")
