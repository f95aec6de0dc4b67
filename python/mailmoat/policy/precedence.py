"""Which clients have to wait when the server is under pressure; computed here and nowhere else.

Without pressure each question is the look at one number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.limits.pressure import Precedence
from mailmoat.policy.known_good import KnownGood

if TYPE_CHECKING:
    from mailmoat.limits.pressure import Pressure
    from mailmoat.policy.client import Client
    from mailmoat.reputation.evidence import Reputation


class Precedences:
    """The precedence of clients under this pressure; from the level `bad_from` on a reputation is bad, at 0 it is good."""

    def __init__(
        self, pressure: Pressure, reputation: Reputation | None, bad_from: int, known_good: KnownGood | None = None
    ) -> None:
        self.pressure = pressure
        self._reputation = reputation
        self._bad_from = bad_from
        self._known_good = known_good or KnownGood(None)

    def waits(self, client: Client) -> bool:
        """Return whether a message of the client is refused for now."""
        refused_below = self.pressure.refused_below
        return bool(refused_below) and self.of(client) < refused_below

    def is_turned_away(self, client: Client) -> bool:
        """Return whether a client that has just connected is; where clients must authenticate, none is before it could."""
        closed_below = self.pressure.closed_below
        return bool(closed_below) and not client.listener.submission and self.of(client) < closed_below

    def of(self, client: Client) -> Precedence:
        """Return the precedence of a client; one of our own servers in front stands for clients that are not known, and none is judged."""
        trust = client.trust
        if trust.internal or trust.authenticated or trust.front_server:
            return Precedence.TRUSTED
        if trust.exempt or client in self._known_good:
            return Precedence.KNOWN
        level = self._reputation.level(client.address) if self._reputation and client.address else None
        if level is None:
            return Precedence.STRANGER
        return Precedence.BAD if level >= self._bad_from else Precedence.STRANGER if level else Precedence.KNOWN
