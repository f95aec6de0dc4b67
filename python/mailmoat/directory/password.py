"""The password of our account at a source: read from its file when a connection needs it. It is in no error and no log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat import password_file
from mailmoat.errors import SourceError
from mailmoat.password_file import PasswordFileError

if TYPE_CHECKING:
    from mailmoat.settings.sections.directories import SourceSettings


def read_password(row: SourceSettings) -> str:
    """Return the password as its file has it now; empty when none is set. SourceError, which names the file."""
    file = row.password_file
    if file is None:
        return ""
    try:
        password = password_file.read(file)
    except PasswordFileError as error:
        raise SourceError(str(error)) from None
    if not password or "\n" in password or "\0" in password:
        raise SourceError(f"{file} is {'not one line' if password else 'empty'}")
    return password
