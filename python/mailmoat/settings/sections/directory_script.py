"""What a row of `[[directories]]` has for a script."""

from pydantic import Field

from mailmoat.settings.fields import Size, Wait
from mailmoat.settings.section import Section


class ScriptFields(Section):
    """Of a `script:` source."""

    script_time: Wait = Field(
        default=60.0,
        description="Time to the end of a `script:` that writes all entries, in seconds; then it is killed.",
    )
    script_size: Size = Field(default=256 << 20, description="Octets that a `script:` may write.")
