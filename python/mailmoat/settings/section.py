"""The base of every section of settings: frozen, without unknown names."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of settings: a table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
