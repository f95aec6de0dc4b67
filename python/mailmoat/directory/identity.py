"""What a table was read by: a digest of the settings that decide which entries a source has. With other ones it is read whole anew."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from mailmoat.directory.bounds import Bounds
from mailmoat.settings.array import form_of
from mailmoat.settings.sections.directory import DirectorySettings

if TYPE_CHECKING:
    from mailmoat.settings import Settings
    from mailmoat.settings.sections.directories import SourceSettings

ANYHOW: Final = frozenset(
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
"""Settings of a row with which it has the same entries; some are in its bounds."""


def identity(settings: Settings, row: SourceSettings) -> str:
    """Return the digest for a merged row, as hexadecimal digits."""
    fields = sorted(type(row).model_fields.items())
    parts = [f"{name}={form_of(field).show(getattr(row, name))}" for name, field in fields if name not in ANYHOW]
    return blake2b("\n".join((*parts, Bounds.of(settings, row).text)).encode(), digest_size=16).hexdigest()


def was_read_by(digest: str, state: str) -> bool:
    """Return whether a table that is in this state (`Table.state`) was read by the settings of this digest."""
    return state.partition(" ")[0].partition(".")[0] == digest
