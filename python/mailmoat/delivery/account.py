"""Our account at a next hop: a name, and the file with its password.

The file is read when a connection needs it and has changed since. The password is in no error: a message of `AccountError` names
the file and what is wrong with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat._native import Credentials
from mailmoat.errors import MailmoatError
from mailmoat.file_changes import stamp_of

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat.file_changes import Stamp
    from mailmoat.settings.sections.delivery import NextHopSettings

LONGEST_FILE: Final = 1024
"""Octets of a file with a password; what is longer is another file."""


class AccountError(MailmoatError):
    """The password cannot be read, or cannot be one."""


class Account:
    """One account."""

    def __init__(self, name: str, file: Path) -> None:
        self.name = name
        self.file = file
        self._stamp: Stamp | None = None
        self._credentials: Credentials | None = None

    def credentials(self) -> Credentials:
        """Return name and password as the file has it now. Raises AccountError."""
        stamp = stamp_of(self.file)
        if self._credentials is None or stamp != self._stamp:
            self._credentials = _read(self.name, self.file)
            self._stamp = stamp
        return self._credentials


def account_of(settings: NextHopSettings) -> Account | None:
    """Return the account that the settings name."""
    if settings.auth_name is None or settings.auth_password_file is None:
        return None
    return Account(settings.auth_name, settings.auth_password_file)


def _read(name: str, file: Path) -> Credentials:
    try:
        with file.open("rb") as opened:
            octets = opened.read(LONGEST_FILE + 1)
    except OSError as error:
        raise AccountError(f"{file} cannot be read: {error.strerror}") from None
    if len(octets) > LONGEST_FILE:
        raise AccountError(f"{file} has more than a password in it")
    try:
        password = octets.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise AccountError(f"{file} is not UTF-8") from None
    try:
        return Credentials(name, password)
    except ValueError as error:
        raise AccountError(f"{file}: {error}") from None
