"""SUBMITTER (RFC 4405 4.2): the address a client names with MAIL must be one it may send for, and the one its header names.

Its domain is tested at MAIL, before the content is sent, when `senderid.spoofed_domain_action` is Reject; the other actions need
the message, and so do bypassed recipients: then the test is that of the responsible address at the end of the header section, which
is the same address. A TempError decides nothing here. For every client, trusted or not, the header section must name
the same address. The replies are those of the standard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat import _native, maillog
from mailmoat._native import Condition
from mailmoat.mailauth.results import CheckRequest, Result, Scope, Status
from mailmoat.mailauth.senderid.counted import SENDERID_ACTIONS, SENDERID_RESULTS, Action
from mailmoat.mailauth.senderid.identities import Identity, IdentityKind, known
from mailmoat.policy.agent import Agent
from mailmoat.policy.sources import Sources
from mailmoat.policy.verdict import PASS, Reject, Reply, Rule
from mailmoat.resolver import Budget

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from mailmoat._native import Stage
    from mailmoat.policy.agent import SessionView
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict
    from mailmoat.settings import Settings

NOT_ALLOWED: Final = Reply(550, "5.7.1", "Submitter not allowed.")
DIFFERS: Final = Reply(550, "5.7.1", "Submitter does not match header.")
UNKNOWN: Final = Reply(554, "5.7.7", "Cannot verify submitter address.")


class SubmitterRule(Rule):
    """Why a message is refused for its submitter."""

    NOT_ALLOWED = "submitter-fail"
    DIFFERS = "submitter-differs"
    UNVERIFIED = "submitter-unverified"


class Submitter(Agent):
    """Holds the parameter to its word."""

    name = "submitter"

    def __init__(self, services: Services) -> None:
        settings = services.settings
        senderid = settings.senderid
        self._refuses = senderid.spoofed_domain_action == "Reject" and not senderid.bypassed_recipients
        self._domains = frozenset(senderid.bypassed_sender_domains)
        self._budget = settings.dns.budget_queries, settings.dns.budget_time
        self._receiver = settings.hostname
        self._sources = Sources(settings, services.trust)
        self._checker = services.checker
        self._count = services.metrics.add

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether SUBMITTER is offered."""
        return settings.senderid.enabled and settings.senderid.submitter

    def passes_if(self, stage: Stage) -> Sequence[Condition]:  # noqa: ARG002 - the same at both
        """Return that it names nobody."""
        return (Condition.no_submitter(),)

    def on_mail(self, view: SessionView) -> Verdict | Awaitable[Verdict]:
        """Refuse a client that the submitter's domain does not permit."""
        submitter = view.submitter
        if submitter is None or not self._refuses or submitter.domain in self._domains:
            return PASS
        source = self._sources.of_client(view.client).address
        identity = Identity(IdentityKind.PRA, Scope.PRA, str(submitter), submitter.domain, "")
        if not source or known(identity):
            return PASS
        request = CheckRequest(source, identity.scope, identity.mailbox, view.helo_name or "unknown", self._receiver)
        result = self._checker.check(request, Budget(*self._budget, source))
        if isinstance(result, Result):
            return self._judge(view, source, identity, result)
        return self._wait(view, source, identity, result)

    def on_end_of_headers(self, view: SessionView) -> Verdict:
        """Refuse a message whose header names another responsible address, or none."""
        submitter = view.submitter
        if submitter is None:
            return PASS
        _, _, address = _native.responsible_address(view.header)
        if address is None:
            return Reject(UNKNOWN, SubmitterRule.UNVERIFIED)
        return PASS if address.key == submitter.key else Reject(DIFFERS, SubmitterRule.DIFFERS)

    async def _wait(self, view: SessionView, source: str, identity: Identity, awaited: Awaitable[Result]) -> Verdict:
        return self._judge(view, source, identity, await awaited)

    def _judge(self, view: SessionView, source: str, identity: Identity, result: Result) -> Verdict:
        """Count refusals only: the others are checked and logged again with the message."""
        if result.status is not Status.FAIL:
            return PASS
        self._count(SENDERID_RESULTS[identity.kind, result.status])
        self._count(SENDERID_ACTIONS[Action.REFUSED])
        check = maillog.Check(identity.kind.value, identity.domain, result.status, result.reason)
        maillog.sender_checked(session=view.session_id, source=source, checks=[check], reason=SubmitterRule.NOT_ALLOWED)
        return Reject(NOT_ALLOWED, SubmitterRule.NOT_ALLOWED, result.reason)
