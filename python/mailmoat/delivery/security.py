"""How the connections to one next hop are secured, and who we are there.

A connection whose account cannot be used is not made: what waits is deferred, and never sent without it. That the account does not
work is logged once, until it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat import maillog
from mailmoat._native import Client
from mailmoat.delivery.account import AccountError, account_of
from mailmoat.events import Event

if TYPE_CHECKING:
    from mailmoat.delivery.account import Account
    from mailmoat.settings.sections.delivery import DeliverySettings


class Security:
    """Of the connections of one destination; the next hop is given in its written form, for the log."""

    def __init__(self, next_hop: str, account: Account | None = None) -> None:
        self._next_hop = next_hop
        self._account = account
        self._refused = ""

    def client(self, helo_name: str, *, lmtp: bool = False, xclient: bool = False) -> Client:
        """Return the machine for a connection just made. Raises AccountError."""
        try:
            credentials = self._account.credentials() if self._account is not None else None
            return Client(helo_name, lmtp=lmtp, credentials=credentials, xclient=xclient)
        except AccountError as error:
            self._log(str(error))
            raise

    def opened(self, client: Client) -> None:
        """Take the end of a connection's setup."""
        refusal = client.refusal
        if refusal is None:
            self._refused = ""
        elif client.authentication_refused:
            self._log(refusal[1])

    def _log(self, reason: str) -> None:
        if reason != self._refused:
            self._refused = reason
            maillog.event(Event.NEXT_HOP_NOT_AUTHENTICATED, next_hop=self._next_hop, detail=reason)


def security_of(next_hop: str, settings: DeliverySettings) -> Security:
    """Return what the settings say of a next hop."""
    return Security(next_hop, account_of(settings))
