"""Judge clients by block and allow lists in the DNS (RFC 5782).

The lists are asked when a client says HELO, which no reply waits for, and once an address: a client that never gets there costs no query. The first RCPT waits for what
is not answered yet, for `dns_lists.time` at most. A client on an allow list is known to be good: nothing is counted against it, and
other filters ask `Services.known_good`. Where the weights of the block lists reach the threshold, each recipient is refused with the text of the
heaviest list, so that the log says whom the message was for; or its messages are stamped. Recipients that anybody can reach are not refused.

Never judged: clients that are trusted, loopback, link-local and private addresses, and servers of ours in front of this one. Those would have to return what is refused
here to senders that may be forged; they name the client (PROXY protocol, XCLIENT), which is judged then, or its messages are stamped (`forwarded_dns_lists`). A list that does not work counts for nothing (`dns_lists.provider`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.dns_lists.lookups import UNLISTED, Listings
from mailmoat.policy.agent import Agent
from mailmoat.policy.listed_clients import DnsListRule, ListedClients, zones
from mailmoat.policy.open_recipients import OpenRecipients
from mailmoat.policy.verdict import PASS, Pass, Reject, Reply
from mailmoat.reputation.evidence import Evidence
from mailmoat.reputation.once import OncePerSession

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from mailmoat.policy.agent import RcptView, SessionView
    from mailmoat.policy.client import ClientKind
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict
    from mailmoat.settings import Settings


class DnsLists(Agent):
    """Judges clients by their address."""

    name = "dns_lists"

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self._lists = ListedClients(services)
        self._rejects = settings.dns_lists.action == "reject"
        self._open = OpenRecipients(settings)
        self._evidence = OncePerSession(services.reputation)

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether there is a list to ask."""
        return bool(settings.dns_lists.providers)

    def concerns(self, kind: ClientKind) -> bool:
        """Return whether it is judged."""
        return kind.trust.judged

    def on_helo(self, view: SessionView) -> Verdict:
        """Begin to look the client up."""
        if view.client.trust.judged:
            self._lists.begin(view.client.address)
        return PASS

    def on_rcpt(self, view: RcptView) -> Verdict | Awaitable[Verdict]:
        """Refuse a listed client, or stamp its message."""
        if not view.client.trust.judged:
            return PASS
        found = self._lists.look_up(view.client.address)
        if found is UNLISTED:
            return PASS
        return self._judge(view, found) if isinstance(found, Listings) else self._wait(view, found)

    async def _wait(self, view: RcptView, lookup: Awaitable[Listings]) -> Verdict:
        return self._judge(view, await lookup)

    def _judge(self, view: RcptView, listings: Listings) -> Verdict:
        if self._lists.is_listed(listings):
            self._evidence.note(view.session_id, view.client.address, Evidence.LISTED)
            if self._rejects and view.recipient not in self._open:
                return _refusal(listings, view.client.address)
        return PASS if view.recipients else Pass(self._lists.stamps(listings))


def _refusal(listings: Listings, address: str) -> Reject:
    heaviest = max(listings.blocked, key=lambda each: each.provider.weight)
    text = heaviest.text.replace("{address}", address)
    return Reject(Reply.showing(550, "5.7.1", text), DnsListRule.LISTED, zones(listings))
