"""The password of our account at a source: read from its file when a connection needs it. It is in no error and no log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat.errors import SourceError

if TYPE_CHECKING:
    from mailmoat.settings.sections.directories import SourceSettings

LONGEST_FILE: Final = 1024
"""Octets of a file with a password; what is longer is another file."""


def read_password(row: SourceSettings) -> str:
    """Return the password as its file has it now; empty when none is set. SourceError, which names the file."""
    file = row.password_file
    if file is None:
        return ""
    try:
        with file.open("rb") as opened:
            octets = opened.read(LONGEST_FILE + 1)
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}") from None
    if len(octets) > LONGEST_FILE:
        raise SourceError(f"{file} has more than a password in it")
    try:
        password = octets.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SourceError(f"{file} is not UTF-8") from None
    if not password or "\n" in password or "\0" in password:
        raise SourceError(f"{file} is {'not one line' if password else 'empty'}")
    return password
