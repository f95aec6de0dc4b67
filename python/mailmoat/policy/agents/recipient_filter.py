"""Refuse recipients this organisation does not have, before any content is sent (behaviours 2; RFC 5321 3.3, 4.5.1, 7.9).

Blocked addresses, and their subaddresses, are refused whatever the directory says. `postmaster` is accepted at every local domain, and
delivered to `recipients.postmaster` where that is set. A directory that
cannot answer never turns into "user unknown": it costs a 451. With lookup off an absent recipient is accepted and reported
later, so that the dialogue tells a harvester nothing.

A local part that a server behind us may read as an address elsewhere (`victim%remote.tld`) is a recipient only when exactly that
address is listed: nothing else could tell it from a way through us to anybody. The same holds at domains we relay for, where no
other recipient is looked up.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from mailmoat._native import Address
from mailmoat.directory.directory import Presence
from mailmoat.policy.agent import PASS, Agent, Pass, Reject, Reply, Report, Tempfail

if TYPE_CHECKING:
    from mailmoat.directory.directory import Directory
    from mailmoat.policy.agent import SessionView, Verdict
    from mailmoat.settings import Settings

USER_UNKNOWN = Reply(550, "5.1.1", "User unknown")
DIRECTORY_DOWN = Reply(451, "4.3.0", "Recipient directory is not available; try again later")


class Standing(Enum):
    """What this filter has to say of a recipient."""

    ELSEWHERE = "at a domain that is not ours"
    POSTMASTER = "always accepted"
    BLOCKED = "refused by the administrator, whatever the directory says"
    UNFILTERED = "accepted, as nobody can be asked"
    UNLISTED = "absent, as another server may take it for a route and nothing lists it"
    EXISTS = "the directory has it"
    ABSENT = "the directory does not have it"
    UNKNOWN = "the directory cannot tell"


_ANSWERED: Final = {
    Presence.EXISTS: Standing.EXISTS,
    Presence.ABSENT: Standing.ABSENT,
    Presence.UNKNOWN: Standing.UNKNOWN,
}
_PASSED: Final = frozenset({Standing.ELSEWHERE, Standing.UNFILTERED, Standing.EXISTS})


class RecipientFilter(Agent):
    """Judges each recipient at a local domain; the block list holds at every domain."""

    name = "recipient_filter"

    def __init__(self, settings: Settings, directory: Directory | None) -> None:
        self._blocked = frozenset(settings.recipients.blocked)
        self._local = frozenset(settings.relay.local_domains)
        self._unfiltered = frozenset(settings.relay.unfiltered_domains)
        self._delimiter = settings.recipients.delimiter
        self._lookup = settings.recipients.lookup
        postmaster = settings.recipients.postmaster
        self._postmaster = Pass(redirected=Address.parse(postmaster)) if postmaster else PASS
        self._directory = directory

    def on_rcpt(self, session: SessionView, recipient: Address) -> Verdict:  # noqa: ARG002 - the agent's signature
        """550 5.1.1 for a blocked or absent recipient, 451 when nobody can tell."""
        standing = self.standing(recipient)
        if standing is Standing.POSTMASTER:
            return self._postmaster
        if standing in _PASSED:
            return PASS
        if standing is Standing.BLOCKED:
            return Reject(USER_UNKNOWN, "blocked recipient")
        if standing is Standing.UNKNOWN:
            return Tempfail(DIRECTORY_DOWN, "directory not available")
        rule = "not in the directory"
        return Reject(USER_UNKNOWN, rule) if self._lookup else Report(USER_UNKNOWN, rule)

    def standing(self, recipient: Address) -> Standing:
        """Of a normalised recipient that has a domain."""
        local = recipient.domain in self._local
        if local and recipient.local.lower() == "postmaster":
            return Standing.POSTMASTER
        if self._blocked and self._is_blocked(recipient):
            return Standing.BLOCKED
        if not local and not (recipient.domain in self._unfiltered and recipient.may_route):
            return Standing.ELSEWHERE
        if self._directory is None:
            return Standing.UNLISTED if recipient.may_route else Standing.UNFILTERED
        return _ANSWERED[self._directory.lookup(recipient)]

    def _is_blocked(self, recipient: Address) -> bool:
        """Whether it is, or the address that it is a subaddress of: who is blocked has no other name."""
        user = recipient.without_detail(self._delimiter)
        return recipient.key in self._blocked or (user is not None and user.key in self._blocked)
