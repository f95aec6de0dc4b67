"""Recipients that anybody can reach: `postmaster` at each local domain (RFC 5321 4.5.1), and those of `lists.open_recipients`.

No filter refuses a client or a sender there, so that who is refused by mistake has somebody to write to. Relay control and the recipient
filter hold for them as for all others. A value made from settings; never fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailmoat._native import Address
    from mailmoat.settings import Settings


class OpenRecipients:
    """A set of recipients."""

    def __init__(self, settings: Settings) -> None:
        self._local = frozenset(settings.relay.local_domains)
        self._listed = frozenset(settings.lists.open_recipients)

    def __contains__(self, recipient: Address) -> bool:
        """Return whether a normalised recipient is never refused for who sends to it."""
        if recipient.local.lower() == "postmaster" and recipient.domain in self._local:
            return True
        return bool(self._listed) and recipient.key in self._listed
