"""`[ndr]`: bounces about messages that could not be delivered."""

from typing import Annotated

from pydantic import Field, PlainValidator

from mailmoat.settings import notation, values
from mailmoat.settings.fields import Switch
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section


class NdrSettings(Section):
    """Bounces about messages that could not be delivered."""

    enabled: Switch = Field(
        default=True, description="Send bounces (non-delivery reports). RFC 5321 6.1 requires them."
    )
    copy_to: Annotated[
        str | None,
        PlainValidator(values.optional(values.report_address)),
        Form("an address such as postmaster@example.com", notation.show),
    ] = Field(default=None, description="Address that gets a copy of every bounce.")
