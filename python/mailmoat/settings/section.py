"""What every group of settings is: frozen, and closed to names it does not have."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of settings: a table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
