"""A file that has one password, for an account of ours at another server. What is in the file is in no error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat.errors import MailmoatError

if TYPE_CHECKING:
    from pathlib import Path

LONGEST_FILE: Final = 1024
"""Octets of a file with a password; what is longer is another file."""


class PasswordFileError(MailmoatError):
    """The file has no password; the sentence names it and what is wrong with it."""


def read(file: Path) -> str:
    """Return the text of the file without the end of its last line. Raises PasswordFileError."""
    try:
        with file.open("rb") as opened:
            octets = opened.read(LONGEST_FILE + 1)
    except OSError as error:
        raise PasswordFileError(f"{file} cannot be read: {error.strerror}") from None
    if len(octets) > LONGEST_FILE:
        raise PasswordFileError(f"{file} has more than a password in it")
    try:
        return octets.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise PasswordFileError(f"{file} is not UTF-8") from None
