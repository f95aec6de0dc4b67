"""Refuse, stamp or drop mail of senders that are not wanted: listed ones, the null sender, domains that nobody can reply to.

The reverse-path is judged at RCPT, the mailboxes of From at the end of the header section. Exchange refuses at MAIL and closes the connection; here
the session goes on, and the tar pit holds each refusal. A domain that the DNS cannot answer for is nobody's fault: accepted,
or 451 where the settings say so (RFC 5321 5.1, RFC 7505 4.2; the enhanced codes: RFC 3463, RFC 5248).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat import _native
from mailmoat._native import Condition, Stage
from mailmoat.policy.blocked_senders import BlockedSenders
from mailmoat.policy.domain_lookups import DomainLookups, Standing
from mailmoat.policy.filter_stamp import FilterRule
from mailmoat.policy.objection import NONE, Filter, Objection
from mailmoat.policy.reserved_domains import SECOND, TOP, is_reserved
from mailmoat.policy.verdict import PASS, Reply
from mailmoat.reputation.evidence import Evidence

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from mailmoat._native import Address
    from mailmoat.policy.agent import SessionView
    from mailmoat.policy.objection import Objections
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict
    from mailmoat.settings import Settings

DENIED: Final = Reply(554, "5.1.0", "Sender Denied")
"""In the words of Exchange."""
BLANK: Final = Reply(550, "5.7.1", "Mail from the null sender <> is not accepted here")


class SenderFilterRule(FilterRule):
    """What is wrong with a sender."""

    BLOCKED = "blocked-sender"
    BLOCKED_FROM = "blocked-from"
    BLANK = "blank-sender"
    RESERVED = "sender-domain-reserved"
    UNQUALIFIED = "sender-domain-unqualified"
    ABSENT = "sender-domain-absent"
    NO_RECORDS = "sender-domain-no-records"
    NULL_MX = "sender-domain-null-mx"
    UNKNOWN = "sender-domain-unknown"


UNRESOLVABLE: Final = {
    Standing.ABSENT: (
        SenderFilterRule.ABSENT,
        "5.1.8",
        "does not exist, so nobody can reply. Send from a domain that does",
    ),
    Standing.NO_RECORDS: (
        SenderFilterRule.NO_RECORDS,
        "5.1.8",
        "has neither MX nor address records, so nobody can reply. Publish one of them",
    ),
    Standing.NO_MAIL: (SenderFilterRule.NULL_MX, "5.7.27", "has a null MX: it accepts no mail, so nobody can reply"),
}


class SenderFilter(Filter):
    """Judges senders."""

    name = "sender_filter"

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        settings = services.settings
        self._settings = settings.sender_filter
        self._delimiter = settings.recipients.delimiter
        self._blocked = BlockedSenders(settings.sender_filter, self._delimiter, services.sender_file)
        self._reads_from = bool(self._blocked) and settings.sender_filter.header_from
        self._own = frozenset(settings.relay.local_domains) | frozenset(settings.relay.unfiltered_domains)
        self._blank = _blank(settings.sender_filter.blank)
        self._lookups = (
            DomainLookups(services.resolver, ("MX", "A", "AAAA"), settings.sender_filter.dns_time)
            if settings.sender_filter.unresolvable != "off"
            else None
        )

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether some sender can be objected to."""
        wanted = settings.sender_filter
        actions = {wanted.blank, wanted.reserved_domains, wanted.unresolvable}
        return bool(wanted.blocked or wanted.blocked_file or actions != {"off"})

    def passes_if(self, stage: Stage) -> Sequence[Condition] | None:
        """Return that the sender is on no list and at no reserved domain, where the DNS is not asked for it."""
        if self._lookups is not None:
            return None
        if stage is Stage.MAIL:
            return ()
        blocked, delimiters = self._settings.blocked, self._delimiter
        reserved = self._settings.reserved_domains != "off"
        sender = Condition.clean_sender(
            blocked=blocked,
            delimiters=delimiters,
            reserved=sorted(TOP | SECOND) if reserved else (),
            takes_null=not self._blank,
        )
        if stage is Stage.RCPT or not self._reads_from:
            return (sender,)
        return sender, Condition.clean_authors(blocked=blocked, delimiters=delimiters)

    def on_mail(self, view: SessionView) -> Verdict:
        """Start to look the domain up; nothing waits for it yet."""
        if self._lookups is None or not self.judges(view):
            return PASS
        sender = view.reverse_path
        if sender is not None and self._is_looked_up(sender, self._at_once(sender)):
            self._lookups.begin(sender.domain, view.client.address)
        return PASS

    def objections(self, view: SessionView) -> Objections | Awaitable[Objections]:
        """Return what is wrong with the reverse-path."""
        sender = view.reverse_path
        if sender is None:
            return self._blank
        found = self._at_once(sender)
        if self._lookups is None or not self._is_looked_up(sender, found):
            return found
        standing = self._lookups.standing(sender.domain, view.client.address)
        if isinstance(standing, Standing):
            return found + self._unresolvable(sender.domain, standing)
        return self._wait(found, sender.domain, standing)

    def conclude(self, view: SessionView, found: Objections) -> Verdict:
        """Look at From as well: it is the sender that people see."""
        by_from = self._by_from(view)
        if by_from is None or (found and any(each.rule is SenderFilterRule.BLOCKED for each in found)):
            return super().conclude(view, found)
        self.note(view, (by_from,))
        found = (*(each for each in found if each.lasts), by_from)
        return self.stamp(found) if by_from.action == "stamp" else self.stop(view, found, by_from)

    def of_author(self, author: Address) -> Objection | None:
        """Return what is wrong with a mailbox of From."""
        entry = self._blocked.entry(author) if self._reads_from else ""
        if not entry:
            return None
        return self._blocked_by(SenderFilterRule.BLOCKED_FROM, f"{author}: {entry}")

    def _blocked_by(self, rule: SenderFilterRule, detail: str) -> Objection:
        return Objection(rule, self._settings.action, DENIED, detail, Evidence.BLOCKED_SENDER)

    def _by_from(self, view: SessionView) -> Objection | None:
        if not self._reads_from:
            return None
        return next(filter(None, map(self.of_author, _native.authors(view.received_header))), None)

    def _at_once(self, sender: Address) -> Objections:
        """Return what is wrong with a sender as far as no lookup is needed."""
        found = NONE
        if entry := self._blocked.entry(sender):
            found = (self._blocked_by(SenderFilterRule.BLOCKED, f"{sender}: {entry}"),)
        action = self._settings.reserved_domains
        if action != "off" and _is_stricter(action, found) and self._is_public(sender.domain):
            return found + self._never_public(sender.domain, action)
        return found

    def _is_looked_up(self, sender: Address, found: Objections) -> bool:
        """Return whether the DNS is asked for the domain, after what has been found without it."""
        return _is_stricter(self._settings.unresolvable, found) and self._is_public(sender.domain)

    def _is_public(self, domain: str) -> bool:
        """Return whether the rules of the public DNS are for this domain: ours may be in no public DNS, and an address literal needs none."""
        return bool(domain) and domain not in self._own and not domain.startswith("[")

    @staticmethod
    def _never_public(domain: str, action: str) -> Objections:
        if is_reserved(domain):
            reply = Reply.showing(
                550, "5.1.8", f"{domain} is reserved (RFC 2606), so nobody can reply. Send from a domain of yours"
            )
            return (Objection(SenderFilterRule.RESERVED, action, reply, domain),)
        if "." not in domain:
            reply = Reply.showing(
                550, "5.1.8", f"{domain} is not a fully qualified domain. Send from one that has a dot"
            )
            return (Objection(SenderFilterRule.UNQUALIFIED, action, reply, domain),)
        return NONE

    def _unresolvable(self, domain: str, standing: Standing) -> Objections:
        action = self._settings.unresolvable
        if standing in UNRESOLVABLE:
            rule, enhanced, what = UNRESOLVABLE[standing]
            return (Objection(rule, action, Reply.showing(550, enhanced, f"{domain} {what}"), domain),)
        if standing is Standing.UNKNOWN and action == "reject" and self._settings.dns_failure == "defer":
            reply = Reply.showing(451, "4.4.3", f"{domain} cannot be looked up now; try again later")
            return (Objection(SenderFilterRule.UNKNOWN, action, reply, domain),)
        return NONE

    async def _wait(self, found: Objections, domain: str, standing: Awaitable[Standing]) -> Objections:
        return found + self._unresolvable(domain, await standing)


def _is_stricter(action: str, found: Objections) -> bool:
    """Return whether an objection with this action would matter after these: a stamp must not keep the next check from refusing."""
    return not found or (action == "reject" and all(each.action == "stamp" for each in found))


def _blank(action: str) -> Objections:
    return NONE if action == "off" else (Objection(SenderFilterRule.BLANK, action, BLANK),)
