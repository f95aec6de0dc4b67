"""Our account at a next hop: a name, and the file with its password.

The file is read when a connection needs it and has changed since. The password is in no error: a message of `AccountError` names
the file and what is wrong with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat import password_file
from mailmoat._native import Credentials
from mailmoat.errors import MailmoatError
from mailmoat.file_changes import stamp_of
from mailmoat.password_file import PasswordFileError

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat.file_changes import Stamp
    from mailmoat.settings.sections.delivery import NextHopSettings


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
        return Credentials(name, password_file.read(file))
    except PasswordFileError as error:
        raise AccountError(str(error)) from None
    except ValueError as error:
        raise AccountError(f"{file}: {error}") from None
