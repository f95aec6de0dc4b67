"""Refuse recipients this organisation does not have, before any content is sent (RFC 5321 3.3, 4.5.1, 7.9).

An alias is accepted, and its messages go to the addresses that the directory has for it; those are not looked up again. Blocked addresses,
and their subaddresses, are refused whatever the directory says. `postmaster` is accepted at every local domain, and delivered to
`recipients.postmaster` where that is set, without a question to the directory; so is `abuse` (RFC 2142 4) where `recipients.abuse` is set,
unless the directory has an alias for it. A directory that
cannot answer never turns into "user unknown": it causes a 451. With lookup off an absent recipient is accepted and reported
later, so that a harvester learns nothing from the dialogue.

A local part that a server behind us may read as an address elsewhere (`victim%remote.tld`) is a recipient only when exactly that
address is listed: nothing else could distinguish it from a route to another server. The same holds at domains we relay for, where no
other recipient is looked up.
"""

from __future__ import annotations

from collections.abc import Awaitable
from enum import Enum
from typing import TYPE_CHECKING, Final, assert_never

from mailmoat._native import Address, Condition
from mailmoat.directory.directory import Presence, Redirection
from mailmoat.limits.limiter import LimitClass
from mailmoat.policy.agent import Agent
from mailmoat.policy.next_hop_refusals import NextHopRefusals
from mailmoat.policy.verdict import PASS, Pass, Reject, Reply, Report, Rule, Tempfail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat._native import Stage
    from mailmoat.directory.directory import Directory, Found
    from mailmoat.policy.agent import RcptView
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict
    from mailmoat.reputation.records import Records
    from mailmoat.settings import Settings

USER_UNKNOWN: Final = Reply(550, "5.1.1", "User unknown")
DIRECTORY_DOWN: Final = Reply(451, "4.3.0", "Recipient directory is not available; try again later")


class RecipientRule(Rule):
    """Why a recipient is refused."""

    UNKNOWN = "unknown-recipient"
    BLOCKED = "blocked-recipient"
    DIRECTORY = "directory-unavailable"


class Standing(Enum):
    """What this filter has to say of a recipient."""

    ELSEWHERE = "at a domain that is not ours"
    POSTMASTER = "always accepted"
    ABUSE = "accepted, as the settings name who gets its mail"
    BLOCKED = "refused by the administrator, whatever the directory says"
    UNFILTERED = "accepted, as nobody can be asked"
    UNLISTED = "absent, as another server may take it for a route and nothing lists it"
    EXISTS = "the directory has it"
    ABSENT = "the directory does not have it"
    UNKNOWN = "the directory cannot be read"


# Here, since a member is slow to reach through its class.
EXISTS: Final = Standing.EXISTS
PRESENT: Final = Presence.EXISTS
GUESSED: Final = frozenset({Standing.ABSENT, Standing.UNLISTED})


class Recipients:
    """What the settings and the directory say of recipients; `directory` is None when none is configured."""

    def __init__(self, settings: Settings, directory: Directory | None) -> None:
        self.normalisation = settings.normalisation
        self._blocked = frozenset(map(self._key, settings.recipients.blocked))
        self._local = frozenset(settings.relay.local_domains)
        self._unfiltered = frozenset(settings.relay.unfiltered_domains)
        self._directory = directory
        self._roles = {"postmaster": Standing.POSTMASTER}
        if settings.recipients.abuse:
            self._roles["abuse"] = Standing.ABUSE

    def standing(
        self, recipient: Address, client: str = ""
    ) -> Standing | Redirection | Awaitable[Standing | Redirection]:
        """Classify a normalised recipient that has a domain; an awaitable if the directory returns one. A redirection is one that exists.

        See `Directory` for the client.
        """
        local = recipient.domain in self._local
        role = self._roles.get(recipient.local.lower()) if local else None
        if role is Standing.POSTMASTER:
            return role
        if self._blocked and self._is_blocked(recipient):
            return Standing.BLOCKED
        if not local and not (recipient.domain in self._unfiltered and recipient.may_route):
            return Standing.ELSEWHERE
        return self._look_up(recipient, client) if role is None else self._alias_or(role, recipient, client)

    def _alias_or(
        self, role: Standing, recipient: Address, client: str
    ) -> Standing | Redirection | Awaitable[Standing | Redirection]:
        """Return the alias that the directory has for an address of a role; without one the role, whatever the directory says."""
        answer = self._directory.lookup(recipient, client) if self._directory is not None else Presence.ABSENT
        if isinstance(answer, Awaitable):
            return _alias_or_later(role, answer)
        return answer if isinstance(answer, Redirection) else role

    def _look_up(self, recipient: Address, client: str) -> Standing | Redirection | Awaitable[Standing | Redirection]:
        if self._directory is None:
            return Standing.UNLISTED if recipient.may_route else Standing.UNFILTERED
        answer = self._directory.lookup(recipient, client)
        if isinstance(answer, (Presence, Redirection)):
            return _classified(answer)
        if isinstance(answer, Awaitable):
            return _later(answer)
        assert_never(answer)  # whatever it is, it is a 451 and never "user unknown"

    def known(self) -> Condition:
        """Return what holds for most that exist, and for no others; never where the directory is no table."""
        return Condition.known_recipient(
            local=sorted(self._local),
            blocked=sorted(self._blocked),
            roles=sorted(self._roles),
            normalisation=self.normalisation,
        )

    def _is_blocked(self, recipient: Address) -> bool:
        """Return whether it is blocked, or the address that it is a subaddress of."""
        user, key = self.normalisation.without_detail(recipient), self.normalisation.key
        return key(recipient) in self._blocked or (user is not None and key(user) in self._blocked)

    def _key(self, written: str) -> str:
        return self.normalisation.key(Address.parse(written))


class RecipientFilter(Agent):
    """Judges each recipient at a local domain; the block list holds at every domain."""

    name = "recipient_filter"

    def __init__(self, services: Services) -> None:
        settings = services.settings.recipients
        self._recipients = Recipients(services.settings, services.directory)
        self._records = services.reputation
        self._postmaster = Pass(redirected=(Address.parse(settings.postmaster),)) if settings.postmaster else PASS
        self._abuse = Pass(redirected=(Address.parse(settings.abuse),)) if settings.abuse else PASS
        absent = Reject if settings.lookup else Report
        self._absent: Verdict = absent(USER_UNKNOWN, RecipientRule.UNKNOWN)
        if not settings.lookup and services.settings.ndr.unresolved_next_hop is not None:
            self._absent = Pass()  # it goes to another host, which has it or refuses it
        self._rates = services.rates if services.rates.limits(LimitClass.UNKNOWN_RECIPIENTS) else None
        self._next_hop = NextHopRefusals(services) if NextHopRefusals.are_possible(services.settings) else None
        self._verdicts = {standing: self._judge(standing) for standing in Standing}

    def passes_if(self, stage: Stage) -> Sequence[Condition]:  # noqa: ARG002 - it listens to one
        """Return that the recipient is one that nobody would ask about."""
        return (self._recipients.known(),)

    def on_rcpt(self, view: RcptView) -> Verdict | Awaitable[Verdict]:
        """Refuse a blocked or absent recipient with 550 5.1.1; 451 if the directory cannot be read."""
        client = view.client
        standing = self._recipients.standing(view.recipient, client.address if client.trust.judged else "")
        if isinstance(standing, (Standing, Redirection)):
            return self._found(standing, view)
        return self._wait(standing, view)

    async def _wait(self, awaited: Awaitable[Standing | Redirection], view: RcptView) -> Verdict:
        return self._found(await awaited, view)

    def _found(self, found: Standing | Redirection, view: RcptView) -> Verdict:
        standing = EXISTS if isinstance(found, Redirection) else found
        if self._records is not None and view.client.trust.judged:
            self._record(standing, view, self._records)
        if isinstance(found, Redirection):
            return Pass(redirected=found.targets)
        if standing is EXISTS:
            return PASS
        verdict = self._verdicts[standing]
        if verdict is self._absent and self._next_hop is not None and (refusal := self._next_hop.of(view)) is not None:
            return refusal  # as if it existed: this says why its next hop could not be asked
        if verdict is self._absent and self._rates is not None and view.client.trust.judged:
            self._rates.charge(LimitClass.UNKNOWN_RECIPIENTS, view.client.address)
        return verdict

    def _record(self, standing: Standing, view: RcptView, records: Records) -> None:
        """Note a recipient that exists or not, for the reputation of a client that is judged."""
        if standing is EXISTS:
            records.known(view.client.address)
        elif standing in GUESSED:
            key = self._recipients.normalisation.key(view.recipient)
            records.unknown(view.client.address, key, view.recipient.domain)

    def _judge(self, standing: Standing) -> Verdict:
        match standing:
            case Standing.EXISTS | Standing.ELSEWHERE | Standing.UNFILTERED:
                return PASS
            case Standing.ABSENT | Standing.UNLISTED:
                return self._absent
            case Standing.POSTMASTER:
                return self._postmaster
            case Standing.ABUSE:
                return self._abuse
            case Standing.BLOCKED:
                return Reject(USER_UNKNOWN, RecipientRule.BLOCKED)
            case Standing.UNKNOWN:
                return Tempfail(DIRECTORY_DOWN, RecipientRule.DIRECTORY)
        assert_never(standing)


def _standing(answer: Presence) -> Standing:
    """Return what an answer of the directory means."""
    match answer:
        case Presence.EXISTS:
            return Standing.EXISTS
        case Presence.ABSENT:
            return Standing.ABSENT
        case Presence.UNKNOWN:
            return Standing.UNKNOWN
    assert_never(answer)


STANDINGS: Final = {presence: _standing(presence) for presence in Presence}


async def _alias_or_later(role: Standing, answer: Awaitable[Found]) -> Standing | Redirection:
    found = await answer
    return found if isinstance(found, Redirection) else role


async def _later(answer: Awaitable[Found]) -> Standing | Redirection:
    return _classified(await answer)


def _classified(found: Found) -> Standing | Redirection:
    if found is PRESENT:
        return EXISTS
    if isinstance(found, Redirection):
        return found
    if isinstance(found, Presence):
        return STANDINGS[found]
    assert_never(found)  # whatever it is, it is a 451 and never "user unknown"
