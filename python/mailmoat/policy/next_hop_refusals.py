"""Why a recipient is refused whose next hop cannot take the message, while others of the server's next hops could.

Judged is what is certain at RCPT: an address that needs SMTPUTF8 (RFC 6531 3.5), and the size that the client declared (RFC 1870 6.1). What
only the content shows is found when the message is sent on, and reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat.policy.verdict import Reject, Reply, Rule

if TYPE_CHECKING:
    from mailmoat.policy.agent import RcptView
    from mailmoat.policy.services import Services
    from mailmoat.settings import Settings

NO_SMTPUTF8: Final = Reply(
    550, "5.6.7", "The mail server of this recipient does not accept internationalized addresses"
)


class NextHopRule(Rule):
    """Why a recipient is refused."""

    SMTPUTF8 = "next-hop-smtputf8"
    SIZE = "next-hop-size"


class NextHopRefusals:
    """Those that follow from what the next hop of each recipient offers."""

    def __init__(self, services: Services) -> None:
        self._offers = services.offers_of
        self._limit = services.settings.limits.message_size

    @staticmethod
    def are_possible(settings: Settings) -> bool:
        """Return whether there is more than one route: with one, nothing is offered that its next hop does not take."""
        return bool(settings.routes)

    def of(self, view: RcptView) -> Reject | None:
        """Return 550 5.6.7, 552 5.3.4, or None where the next hop takes the message."""
        recipient, sender = view.recipient, view.reverse_path
        offers = self._offers(recipient.domain)
        if not offers.smtputf8 and not (str(recipient).isascii() and (sender is None or str(sender).isascii())):
            return Reject(NO_SMTPUTF8, NextHopRule.SMTPUTF8)
        room = offers.room(self._limit)
        if room and view.declared_size > room:
            return Reject(
                Reply(552, "5.3.4", f"Message exceeds the limit of {room} octets for this recipient"), NextHopRule.SIZE
            )
        return None
