"""The kinds of databases, by the scheme of a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailmoat.directory.sql.connection import Database
    from mailmoat.settings.sections.directories import SourceSettings


def database_of(row: SourceSettings) -> Database:
    """Return the database of a row. SourceError when what it needs is not installed."""
    match row.url.family:
        case "postgresql":
            from mailmoat.directory.sql.postgresql import PostgreSql

            return PostgreSql(row)
        case "mysql":
            from mailmoat.directory.sql.mysql import MySql

            return MySql(row)
    from mailmoat.directory.sql.sqlite import Sqlite

    return Sqlite(row)
