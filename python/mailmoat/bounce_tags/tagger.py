"""Signs the reverse-paths of what leaves, and checks those that bounces come back to: the tags as one worker sees them.

Reads the keys at the start, once an hour, and at once for a tag that it cannot check, since another worker may have made a new key. Keys that
cannot be read or written later change nothing, and are in the log. Raises OSError or ConfigError when there is none at the start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat import clock, maillog
from mailmoat.bounce_tags import key_file, tag
from mailmoat.bounce_tags.tag import Check, Tagged
from mailmoat.errors import ConfigError
from mailmoat.events import Event

if TYPE_CHECKING:
    from mailmoat._native import Address
    from mailmoat.settings import Settings

DAY_MS: Final = 86_400_000
LOOK_TIME: Final = 3600.0
"""Seconds between two looks at the file."""
LEAST_TIME: Final = 10.0
"""Seconds between two looks for a tag that cannot be checked."""


class Tagger:
    """The tags of one server's addresses."""

    def __init__(self, settings: Settings) -> None:
        self._spool_dir = settings.spool_dir
        self._settings = settings.bounce_tags
        self._domains = frozenset(settings.relay.local_domains)
        self._exempt = frozenset(self._settings.exempt)
        self._keys = key_file.keys(self._spool_dir, _today(), self._settings.rotate_days)
        self._looked = clock.monotonic()

    def mark(self, reverse_path: str) -> str:
        """Return what is put before a reverse-path; empty where it leaves as it is: it is null, not of ours, or one that is not signed."""
        local, _, domain = reverse_path.rpartition("@")
        if domain not in self._domains or not tag.is_signed(local) or reverse_path.lower() in self._exempt:
            return ""
        return tag.sign(local, domain, self._keys[0], _today() + self._settings.days).removesuffix(local)

    def check(self, tagged: Tagged, domain: str) -> Check:
        """Return what the tag of an address is worth now."""
        found = tag.check(tagged, domain, self._keys, _today())
        if found is Check.FORGED and clock.monotonic() - self._looked >= LEAST_TIME:
            self._look()
            found = tag.check(tagged, domain, self._keys, _today())
        return found

    def expects_tag(self, address: Address) -> bool:
        """Return whether what this address sends is signed, so that a bounce to it has a tag."""
        return (
            address.domain in self._domains
            and address.local.lower() != "postmaster"
            and tag.is_signed(address.local)
            and address.key not in self._exempt
        )

    def tick(self) -> None:
        """Work once a second."""
        if clock.monotonic() - self._looked >= LOOK_TIME:
            self._look()

    def _look(self) -> None:
        self._looked = clock.monotonic()
        try:
            self._keys = key_file.keys(self._spool_dir, _today(), self._settings.rotate_days)
        except (OSError, ConfigError) as error:
            maillog.event(Event.BOUNCE_TAGS_NOT_READ, detail=str(error))


def _today() -> int:
    return clock.wall_ms() // DAY_MS
