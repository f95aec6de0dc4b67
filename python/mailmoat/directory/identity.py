"""Digests of settings: of those that decide which entries a source has, as a table was read by them; and of all live sources, as they are asked.

With other settings a table is read whole anew, and a directory process is not asked.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat.directory.bounds import Bounds
from mailmoat.settings import entries
from mailmoat.settings.array import form_of, show_rows
from mailmoat.settings.sections.directories import sources
from mailmoat.settings.sections.directory import DirectorySettings
from mailmoat.settings.sections.directory_sql import SQL_FAMILIES

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from mailmoat.settings import Settings
    from mailmoat.settings.sections.directories import SourceSettings

IRRELEVANT: Final = frozenset(
    {
        *DirectorySettings.model_fields,
        *(
            "name",
            "mode",
            "domains",
            "whole_domains",
            "password_file",
            "tls",
            "tls_ca",
            "tls_certificate",
            "tls_key",
            "script_time",
            "script_size",
        ),
        *("lookup_query", "full_interval", "changes_overlap", "query_timeout", "notify_channel", "connections"),
    }
)
"""Settings of a row that do not decide which entries it has, except by its bounds."""


class Identity(NamedTuple):
    """What decides which entries a source has."""

    url: str
    """Where it is."""
    written: tuple[str, ...]
    """The other settings of its row, and `url`, without its bounds."""
    bounds: Bounds

    @classmethod
    def of(cls, settings: Settings, row: SourceSettings) -> Identity:
        """Return that of a merged row."""
        written = _written(row, IRRELEVANT)
        if (
            row.url.family in SQL_FAMILIES and settings.recipient_domains
        ):  # they say what is another spelling, and no alias
            written.append(show_rows(settings.recipient_domains))
        return cls(str(row.url), tuple(written), Bounds.of(settings, row))

    @property
    def digest(self) -> str:
        """All of it, as hexadecimal digits."""
        return _digest((*self.written, self.bounds.text))


def live_digest(settings: Settings) -> str:
    """Return the digest of all that decides what the live sources say, as hexadecimal digits."""
    rows = [row for row in sources(settings.directory, settings.directories) if row.mode == "live"]
    parts = [
        settings.recipients.delimiter,
        ",".join(sorted(settings.relay.local_domains)),
        show_rows(settings.recipient_domains),
        *(part for row in rows for part in (*_written(row), Bounds.of(settings, row).text)),
    ]
    if any(row.url.family == "next_hop" for row in rows):
        routes = [entry for entry in entries(type(settings)).values() if entry.key.startswith(("delivery.", "routes"))]
        parts += [f"{entry.key}={entry.form.show(entry.value(settings))}" for entry in routes]
    return _digest(parts)


def _written(row: SourceSettings, without: Container[str] = ()) -> list[str]:
    fields = sorted(type(row).model_fields.items())
    return [f"{name}={form_of(field).show(getattr(row, name))}" for name, field in fields if name not in without]


def _digest(parts: Iterable[str]) -> str:
    return blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def was_read_by(digest: str, state: str) -> bool:
    """Return whether a table that is in this state (`Table.state`) was read by the settings of this digest."""
    return state.partition(" ")[0].partition(".")[0] == digest
