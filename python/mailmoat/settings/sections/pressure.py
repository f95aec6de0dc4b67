"""`[pressure]`: when the server is short of something, so that strangers have to wait."""

from typing import Annotated, NamedTuple

from pydantic import Field, PlainValidator

from mailmoat.settings import notation, values
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section


class Thresholds(NamedTuple):
    """Readings at which a level begins and ends."""

    medium: float
    """Medium begins here."""
    high: float
    """High begins here."""
    below_high: float
    """High ends below it."""
    below_medium: float
    """Medium ends below it."""


def thresholds(value: object) -> Thresholds | None:
    """Read four numbers, or None from `off`; ValueError when a level would not end below its beginning."""
    if isinstance(value, Thresholds | None) or (isinstance(value, str) and value.strip().lower() in {"", "off"}):
        return value if isinstance(value, Thresholds) else None
    numbers = [values.decimal(item) for item in values.items(value)]
    if len(numbers) != len(Thresholds._fields):
        raise ValueError("not four numbers")
    read = Thresholds(*numbers)
    in_order = 0 < read.medium < read.high and read.below_medium <= read.below_high
    if not (in_order and read.below_medium < read.medium and read.below_high < read.high):
        raise ValueError("not in order: medium is below high, and each level ends below where it begins")
    return read


def show_thresholds(value: object) -> str:
    """Return the four numbers as they are written."""
    return "off" if value is None else notation.show(value)


OptionalThresholds = Annotated[
    Thresholds | None,
    PlainValidator(thresholds),
    Form(
        "four numbers: where medium and high begin, and below which high and medium end, such as 96, 99, 97, 94; or off",
        show_thresholds,
    ),
]


class PressureSettings(Section):
    """When strangers have to wait because the server is short of something."""

    disk: OptionalThresholds = Field(
        default=Thresholds(96, 99, 97, 94),
        validate_default=True,
        description="Per cent of the spool's disk (room or inodes) that are used: where medium and high begin, and below which high and medium end. off = not watched.",
    )
    memory: OptionalThresholds = Field(
        default=Thresholds(72, 75, 73, 71),
        validate_default=True,
        description="Per cent of the memory (of the control group, or of the machine) that the workers have for themselves, likewise.",
    )
    queue: OptionalThresholds = Field(
        default=None,
        description="Messages in the spool, likewise. off = not watched: messages for a next hop that is down are no reason to refuse others.",
    )
    lag: OptionalThresholds = Field(
        default=Thresholds(2, 5, 2, 1),
        validate_default=True,
        description="Seconds that a worker is late with its work, twice in a row, likewise. Each worker for itself.",
    )
