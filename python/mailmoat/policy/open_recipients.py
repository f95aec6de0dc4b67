"""Recipients that anybody can reach: `postmaster` at each local domain (RFC 5321 4.5.1).

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

    def __contains__(self, recipient: Address) -> bool:
        """Return whether a normalised recipient is never refused for who sends to it."""
        return recipient.local.lower() == "postmaster" and recipient.domain in self._local
