"""SUBMITTER (RFC 4405 4.2): the address a client names with MAIL must be one it may send for, and the one its header names.

Its domain is tested at MAIL, before the content is sent, when `senderid.spoofed_domain_action` is Reject; the other actions need
the message, and so do bypassed recipients: then the test is that of the responsible address at the end of the header section, which
is the same address. A TempError decides nothing here. Be the client a stranger or inside, the header must say
the same. The replies are the standard's own words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat import _native, maillog, metrics
from mailmoat.mailauth.results import CheckRequest, Result, Scope, Status
from mailmoat.mailauth.senderid.identities import Identity, IdentityKind, known
from mailmoat.policy.agent import PASS, Agent, Reject, Reply
from mailmoat.policy.sources import Sources
from mailmoat.resolver import Budget

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mailmoat.mailauth.spf.checker import Checker
    from mailmoat.policy.agent import SessionView, Verdict
    from mailmoat.settings import Settings

NOT_ALLOWED: Final = Reply(550, "5.7.1", "Submitter not allowed.")
DIFFERS: Final = Reply(550, "5.7.1", "Submitter does not match header.")
UNKNOWN: Final = Reply(554, "5.7.7", "Cannot verify submitter address.")


class Submitter(Agent):
    """Holds the parameter to its word."""

    name = "submitter"

    def __init__(self, settings: Settings, checker: Checker, count: Callable[[int], None]) -> None:
        senderid = settings.senderid
        self._refuses = senderid.spoofed_domain_action == "Reject" and not senderid.bypassed_recipients
        self._domains = frozenset(senderid.bypassed_sender_domains)
        self._budget = settings.dns.budget_queries, settings.dns.budget_time
        self._receiver = settings.hostname
        self._sources = Sources(settings)
        self._checker = checker
        self._count = count

    def on_mail(self, session: SessionView) -> Verdict | Awaitable[Verdict]:
        """Refuse a client that the submitter's domain does not permit."""
        submitter = session.submitter
        if submitter is None or not self._refuses or submitter.domain in self._domains:
            return PASS
        source = self._sources.of_peer(session.peer).address
        identity = Identity(IdentityKind.PRA, Scope.PRA, str(submitter), submitter.domain, "")
        if not source or known(identity):
            return PASS
        request = CheckRequest(source, identity.scope, identity.mailbox, session.hello or "unknown", self._receiver)
        result = self._checker.check(request, Budget(*self._budget, source))
        if isinstance(result, Result):
            return self._judge(session, source, identity, result)
        return self._wait(session, source, identity, result)

    def on_end_of_headers(self, session: SessionView) -> Verdict:
        """Refuse a message whose header names another responsible address, or none."""
        submitter = session.submitter
        if submitter is None:
            return PASS
        _, _, address = _native.responsible_address(session.head)
        if address is None:
            return Reject(UNKNOWN, "submitter without a responsible address")
        return PASS if address.key == submitter.key else Reject(DIFFERS, "submitter does not match header")

    async def _wait(self, session: SessionView, source: str, identity: Identity, awaited: Awaitable[Result]) -> Verdict:
        return self._judge(session, source, identity, await awaited)

    def _judge(self, session: SessionView, source: str, identity: Identity, result: Result) -> Verdict:
        """Only what is refused is counted: the rest is judged again with the message, and told then."""
        if result.status is not Status.FAIL:
            return PASS
        self._count(metrics.SENDERID_RESULTS[identity.kind, result.status])
        self._count(metrics.SENDERID_ACTIONS["refused"])
        rule = f"submitter {result.status}: {result.reason}"
        check = maillog.Check(identity.kind.value, identity.domain, result.status, result.reason)
        maillog.sender_checked(session=session.session_id, source=source, checks=[check], rule=rule)
        return Reject(NOT_ALLOWED, rule)
