"""Which clients are known to be good, because a list has them: our own allow list, or one in the DNS.

Filters that judge clients by what these send leave them out, and they wait last under pressure; decided here and nowhere else. Reads
memory only; never fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.policy.client import Client


class KnownGood:
    """Asks the lists; `in_dns` says whether one in the DNS has an address, None where there is none."""

    def __init__(self, in_dns: Callable[[str], bool] | None) -> None:
        self._in_dns = in_dns

    def __contains__(self, client: Client) -> bool:
        """Return whether a list has the client; for those in the DNS, from the first RCPT of a session on."""
        return client.trust.allowed or (self._in_dns is not None and self._in_dns(client.address))
