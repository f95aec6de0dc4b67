"""What every group of settings is (frozen, and closed to names it does not have), and what may bring one from outside."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of settings: a table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Extension:
    """A class that an administrator adds to the server; its section is a table of the file like any other."""

    name: ClassVar[str]
    """What the settings list it by, and the name of its section."""
    section: ClassVar[type[Section] | None] = None
    """Each field has a default, a description, and a type of `settings.fields`. None without settings of its own."""
