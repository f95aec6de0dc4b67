"""Makes the source of a row. What a source needs is imported here when a row needs it: only in the directory process and in commands.

Raises SourceError for a row whose library is not installed, with what to install.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.directory.notation import USUAL
from mailmoat.errors import SourceError

if TYPE_CHECKING:
    from mailmoat._native import Normalisation
    from mailmoat.directory.source import LiveSource, SyncSource
    from mailmoat.settings.sections.directories import SourceSettings


def open_sync(row: SourceSettings, normalisation: Normalisation = USUAL) -> SyncSource:
    """Return the synchronised source of a row that is merged with `[directory]`; it connects when it is read.

    `normalisation` says which spellings are one mailbox: what leads to another one is an alias.
    """
    match row.url.family:
        case "file":
            from mailmoat.directory.text_file import TextFile

            return TextFile(row)
        case "script":
            from mailmoat.directory.script import Script

            return Script(row)
        case "postgresql" | "mysql" | "sqlite":
            from mailmoat.directory.sql.sync import SqlSync

            return SqlSync(row, normalisation)
        case "ldap":
            from mailmoat.directory.ldap.sync import LdapSync

            return LdapSync(row)
        case "ad":
            from mailmoat.directory.ad.row import ad_sync

            return ad_sync(row)
    raise SourceError(f"{row.url.scheme}: cannot be read whole")


def open_live(row: SourceSettings) -> LiveSource:
    """Return the live source of a row that is merged with `[directory]`; it connects when it is asked."""
    match row.url.family:
        case "script":
            from mailmoat.directory.script import Script

            return Script(row)
        case "ldap":
            from mailmoat.directory.ldap.live import LdapLive

            return LdapLive(row)
        case "postgresql" | "mysql" | "sqlite":
            from mailmoat.directory.sql.live import SqlLive

            return SqlLive(row)
        case "ad":
            from mailmoat.directory.ad.row import ad_live

            return ad_live(row)
    raise SourceError(f"{row.url.scheme}: cannot be asked for one address")
