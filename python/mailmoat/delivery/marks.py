"""The tag that the reverse-path of an attempt gets where messages leave (`[bounce_tags]`).

An attempt to a recipient at one of `bounce_tags.unsigned_domains` gets none. Never fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from mailmoat.bounce_tags.tagger import Tagger
    from mailmoat.delivery.attempt import Attempt
    from mailmoat.settings import NextHop


class Marks:
    """The marks of one worker."""

    def __init__(self, tagger: Tagger, unsigned: Container[str]) -> None:
        """Take the tags; nothing is signed to recipients at the domains of `unsigned`."""
        self._tagger = tagger
        self._unsigned = unsigned

    def of(self, next_hop: NextHop, where: str) -> Callable[[Attempt], str] | None:
        """Return what gives the mark of an attempt at a next hop, None where none has one; `where` is the setting `bounce_tags` of its route."""
        signs = where == "always" or (where == "mx" and next_hop.kind == "mx")
        return self.mark if signs else None

    def mark(self, attempt: Attempt) -> str:
        """Return what is put before the reverse-path; empty for nothing."""
        mark = self._tagger.mark(attempt.message.reverse_path)
        if not mark:
            return ""
        recipients = attempt.message.recipients
        domains = {recipients[index].address.rpartition("@")[2] for index in attempt.indexes}
        return "" if any(domain in self._unsigned for domain in domains) else mark
