"""Judge clients by block and allow lists in the DNS (RFC 5782).

The lists are asked when a client says HELO, which no reply waits for, and once an address: a client that never gets there costs no query. The first RCPT waits for what
is not answered yet, for `dns_lists.time` at most. A client on an allow list is known to be good: nothing is counted against it, and
other filters ask `Services.known_good`. Where the weights of the block lists reach the threshold, each recipient is refused with the text of the
heaviest list, so that the log says whom the message was for; or its messages are stamped. Recipients that anybody can reach are not refused.

Never judged: clients that are trusted, loopback, link-local and private addresses, and servers of ours in front of this one. Those would have to return what is refused
here to senders that may be forged; they name the client (PROXY protocol, XCLIENT), which is judged then. A list that does not work counts for nothing (`dns_lists.provider`).
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, Final, cast

from mailmoat.dns_lists.lookups import UNLISTED
from mailmoat.mailauth.header import dnswl
from mailmoat.policy.agent import Agent
from mailmoat.policy.filter_stamp import FilterRule, filter_stamp
from mailmoat.policy.open_recipients import OpenRecipients
from mailmoat.policy.sources import LOCAL, PRIVATE
from mailmoat.policy.verdict import PASS, Pass, Reject, Reply
from mailmoat.reputation.evidence import Evidence

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from mailmoat.dns_lists.lookups import DnsLookups, Listings
    from mailmoat.policy.agent import RcptView, SessionView
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict
    from mailmoat.settings import Settings


NOTED: Final = 1024
"""Sessions that are remembered as noted for the reputation of their client, which is noted once for each."""


class DnsListRule(FilterRule):
    """Why a client is refused or its messages stamped."""

    LISTED = "dns-listed"


class DnsLists(Agent):
    """Judges clients by their address."""

    name = "dns_lists"

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self._lists = cast("DnsLookups", services.dns_lists)  # there are some, as it is on
        self._threshold = settings.dns_lists.threshold
        self._rejects = settings.dns_lists.action == "reject"
        self._receiver = settings.hostname
        self._open = OpenRecipients(settings)
        self._reputation = services.reputation
        self._note_session = lru_cache(NOTED)(self._note)

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether there is a list to ask."""
        return bool(settings.dns_lists.providers)

    def on_helo(self, view: SessionView) -> Verdict:
        """Begin to look the client up."""
        client = view.client
        if client.trust.judged and self._lists.known(client.address) is None and _can_be_listed(client.address):
            self._lists.look_up(client.address)
        return PASS

    def on_rcpt(self, view: RcptView) -> Verdict | Awaitable[Verdict]:
        """Refuse a listed client, or stamp its message."""
        client = view.client
        if not client.trust.judged:
            return PASS
        listings = self._lists.known(client.address)
        if listings is UNLISTED:
            return PASS
        if listings is not None:
            return self._judge(view, listings)
        lookup = self._lists.look_up(client.address) if _can_be_listed(client.address) else None
        return PASS if lookup is None else self._wait(view, lookup)

    async def _wait(self, view: RcptView, lookup: asyncio.Task[Listings]) -> Verdict:
        await asyncio.wait((lookup,))  # not the task itself: others wait for it, and this one may be cancelled
        return self._judge(view, self._lists.known(view.client.address) or UNLISTED)

    def _judge(self, view: RcptView, listings: Listings) -> Verdict:
        first = not view.recipients
        if listings.allowed:
            return (
                Pass(tuple(dnswl(self._receiver, each.provider.zone, each.answer) for each in listings.allowed))
                if first
                else PASS
            )
        if listings.weight < self._threshold:
            return PASS
        self._note_session(view.session_id, view.client.address)
        zones = ", ".join(f"{each.provider.zone} ({each.answer})" for each in listings.blocked)
        if self._rejects and view.recipient not in self._open:
            heaviest = max(listings.blocked, key=lambda each: each.provider.weight)
            text = heaviest.text.replace("{address}", view.client.address)
            return Reject(Reply.showing(550, "5.7.1", text), DnsListRule.LISTED, zones)
        return Pass((filter_stamp(DnsListRule.LISTED, zones),)) if first else PASS

    def _note(self, _session_id: str, address: str) -> None:
        if self._reputation is not None:
            self._reputation.note(address, Evidence.LISTED)


def _can_be_listed(address: str) -> bool:
    return bool(address) and address not in LOCAL and address not in PRIVATE
