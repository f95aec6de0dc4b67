"""Whether the source of accounts that the settings name can be used, for the start and for `check-config`.

Sees files with the rights of the process at that moment. Each sentence names the setting, what is wrong and the fix; no secret is in one.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from mailmoat import files
from mailmoat.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mailmoat.settings import Settings


def load(settings: Settings) -> None:
    """Import what the checks of a file need, which an account that cannot read Python could not, and which is of no use without one."""
    if settings.auth.file is not None:
        import mailmoat.auth.file
    if settings.auth.senders is not None:
        import mailmoat.auth.senders  # noqa: F401


def mistakes(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each thing because of which nobody could authenticate, now and later."""
    auth = settings.auth
    if auth.senders is not None:
        from mailmoat.auth import senders

        try:
            senders.read_file(auth.senders, settings.normalisation)
        except ConfigError as error:
            yield from (f"auth.senders = {auth.senders}: {mistake}" for mistake in error.mistakes)
    if auth.file is not None:
        from mailmoat.auth.account_file import read_file

        try:
            read_file(auth.file)
        except ConfigError as error:
            for mistake in error.mistakes:
                yield f"auth.file = {auth.file}: {mistake}{_fix(auth.file)}"
    elif auth.dovecot is not None and (mode := _mode(auth.dovecot)):
        if not stat.S_ISSOCK(mode):
            yield f"auth.dovecot = {auth.dovecot}: is not a socket; name the unix_listener of Dovecot's service auth"
        elif not os.access(auth.dovecot, os.R_OK | os.W_OK, effective_ids=True):
            yield (
                f"auth.dovecot = {auth.dovecot}: the account that runs mailmoat cannot use it; set mode, user and group of that "
                "unix_listener in Dovecot"
            )


def warnings(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each thing that is probably not meant."""
    auth = settings.auth
    if auth.file is not None:
        from mailmoat.auth.account_file import read_file
        from mailmoat.auth.file import MECHANISMS

        if problem := files.exposed(auth.file):
            yield f"auth.file = {auth.file}: {problem}"
        if not read_file(auth.file).by_key:
            yield f"auth.file = {auth.file}: no account is in it; mailmoat user add makes one"
        if unknown := sorted(set(auth.mechanisms) - set(MECHANISMS)):
            yield f"auth.mechanisms has {', '.join(unknown)}, which auth.file cannot do; it can {', '.join(MECHANISMS)}"
    elif auth.dovecot is not None and not _mode(auth.dovecot):
        yield f"auth.dovecot = {auth.dovecot}: is not there, so AUTH is not offered until Dovecot runs"
    elif auth.dovecot is None and any(each.submission for each in settings.listen):
        yield "listen has an address for submission, and neither auth.file nor auth.dovecot is set: nobody can send there"


def _fix(file: Path) -> str:
    """Return what to do about a file that cannot be read."""
    try:
        with file.open("rb"):
            return ""
    except FileNotFoundError:
        return "; mailmoat user add makes it"
    except OSError:
        return "; let the account that runs mailmoat read it and enter its directories"


def _mode(path: Path) -> int:
    """Return the mode of a file; 0 if there is none to be seen."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0
