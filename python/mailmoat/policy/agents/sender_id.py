"""Check at the end of the header section whether a host may send for the domains its message names (RFC 4406, RFC 7208).

Only mail from outside is judged, by the address that `sources` finds. Without one there is no status: the message goes on, and the
log says so.

The identities are checked one after another, the purported responsible address first, so that a stranger's own domains cannot
use up the budget of the check that would fail. Whatever the results, they are stamped. Only Fail and TempError can do more:

* A domain in `senderid.bypassed_sender_domains` is not checked; complete domains are compared, as Exchange does, so a
  subdomain is listed by itself. It is each identity's own domain that counts.
* Recipients in `senderid.bypassed_recipients` get their message whatever is found. When a Fail stops it for others only, these are
  taken out of the transaction, each of them logged, be the action Reject or Delete: a reply to the end of data is one for all. A
  TempError with bypassed recipients refuses nothing: a legitimate message must not be lost because of a DNS failure.
* A client that gave SUBMITTER gets the reply of RFC 4405 4.2 on a Fail.

Asks `mailauth.spf.checker`, decides by settings alone, never raises for what a message holds. The replies: RFC 4406 5, RFC 7372 3.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mailmoat import maillog
from mailmoat.mailauth.header import stamps, unchecked
from mailmoat.mailauth.results import AuthResult, CheckRequest, Method, Result, Status
from mailmoat.mailauth.senderid.counted import SENDERID_ACTIONS, SENDERID_RESULTS, SENDERID_UNCHECKED, Action
from mailmoat.mailauth.senderid.identities import Finding, IdentityKind, envelope, known, responsible
from mailmoat.policy.agent import Agent
from mailmoat.policy.agents.submitter import NOT_ALLOWED
from mailmoat.policy.sources import Sources
from mailmoat.policy.verdict import PASS, Discard, Pass, Reject, Reply, Rule, Tempfail
from mailmoat.reputation.evidence import Evidence
from mailmoat.resolver import Budget

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from mailmoat.mailauth.senderid.identities import Identity
    from mailmoat.policy.agent import SessionView
    from mailmoat.policy.client import ClientKind
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict
    from mailmoat.settings import Settings

NO_PRA: Final = Reply(550, "5.7.1", "Missing Purported Responsible Address")
NOT_NOW: Final = {
    True: Reply(451, "4.4.3", "Sender ID check is temporarily unavailable"),
    False: Reply(451, "4.4.3", "SPF check is temporarily unavailable"),
}
"""By whether it is Sender ID's."""
ACTIONS: Final = {Reject: Action.REFUSED, Tempfail: Action.DEFERRED, Discard: Action.DROPPED}


class SenderRule(Rule):
    """Why a message is stopped for its sender: the identity and its status."""

    SENDER_ID_FAIL = "sender-id-fail"
    SENDER_ID_TEMP_ERROR = "sender-id-temperror"
    SPF_MAIL_FROM_FAIL = "spf-mailfrom-fail"
    SPF_MAIL_FROM_TEMP_ERROR = "spf-mailfrom-temperror"
    SPF_HELO_FAIL = "spf-helo-fail"
    SPF_HELO_TEMP_ERROR = "spf-helo-temperror"


FAILS: Final = {
    IdentityKind.PRA: SenderRule.SENDER_ID_FAIL,
    IdentityKind.MAIL_FROM: SenderRule.SPF_MAIL_FROM_FAIL,
    IdentityKind.HELO: SenderRule.SPF_HELO_FAIL,
}
TEMP_ERRORS: Final = {
    IdentityKind.PRA: SenderRule.SENDER_ID_TEMP_ERROR,
    IdentityKind.MAIL_FROM: SenderRule.SPF_MAIL_FROM_TEMP_ERROR,
    IdentityKind.HELO: SenderRule.SPF_HELO_TEMP_ERROR,
}

Ruling = Reject | Tempfail | Discard
Judged = Pass | Ruling


@dataclass(slots=True)
class Case:
    """One message being judged."""

    view: SessionView
    source: str
    helo_name: str
    """Empty when the peer that gave it is not the source."""
    budget: Budget
    findings: list[Finding] = field(default_factory=list)


class SenderId(Agent):
    """Judges messages by their source address."""

    name = "sender_id"

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self._settings = settings.senderid
        self._budget = settings.dns.budget_queries, settings.dns.budget_time
        self._receiver = settings.hostname
        self._checker = services.checker
        self._reputation = services.reputation
        self._count = services.metrics.add
        self._sources = Sources(settings, services.trust)
        self._domains = frozenset(settings.senderid.bypassed_sender_domains)
        self._recipients = frozenset(settings.senderid.bypassed_recipients)

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether senders are checked."""
        return settings.senderid.enabled

    def concerns(self, kind: ClientKind) -> bool:
        """Return whether its senders are checked."""
        return not kind.trust.inside

    def on_end_of_headers(self, view: SessionView) -> Verdict | Awaitable[Verdict]:
        """Return the stamps, and the action of the settings for Fail and TempError."""
        client, header = view.client, view.header
        found = self._sources.of_message(client, header)
        source = found.address
        if not source:
            return self._unchecked(view, found.reason) if found.reason else PASS
        helo_name = view.helo_name if source == client.address else ""
        identities = [responsible(header, view.reverse_path, helo_name), *envelope(view.reverse_path, helo_name)]
        wanted = [identity for identity in identities if identity.domain not in self._domains]
        return self._check(Case(view, source, helo_name, Budget(*self._budget, source)), iter(wanted))

    def _unchecked(self, view: SessionView, reason: str) -> Pass:
        self._count(SENDERID_UNCHECKED)
        maillog.sender_unchecked(session=view.session_id, client=view.client.address, reason=reason)
        return Pass((unchecked(self._receiver),))

    def _check(self, case: Case, identities: Iterator[Identity]) -> Judged | Awaitable[Judged]:
        """Ask about each identity, without a task as long as everything is known."""
        for identity in identities:
            result = known(identity) or self._checker.check(self._request(case, identity), case.budget)
            if not isinstance(result, Result):
                return self._wait(case, identity, result, identities)
            self._note(case, identity, result)
        return self._decide(case)

    async def _wait(
        self, case: Case, identity: Identity, awaited: Awaitable[Result], identities: Iterator[Identity]
    ) -> Judged:
        self._note(case, identity, await awaited)
        rest = self._check(case, identities)
        return rest if isinstance(rest, (Pass, Reject, Tempfail, Discard)) else await rest

    def _request(self, case: Case, identity: Identity) -> CheckRequest:
        return CheckRequest(case.source, identity.scope, identity.mailbox, case.helo_name or "unknown", self._receiver)

    def _note(self, case: Case, identity: Identity, result: Result) -> None:
        self._count(SENDERID_RESULTS[identity.kind, result.status])
        case.findings.append(Finding(identity, result))

    def _decide(self, case: Case) -> Judged:
        view, ruling = case.view, self._ruling(case)
        marks = stamps(
            case.findings,
            receiver=self._receiver,
            source=case.source,
            helo_name=case.helo_name,
            exchange=self._settings.exchange_headers,
        )
        results = tuple(map(auth_result, case.findings))
        judged = [recipient for recipient in view.recipients if recipient.key not in self._recipients]
        spared = len(judged) < len(view.recipients)
        if not judged or (spared and isinstance(ruling, Tempfail)):
            ruling = None
        self._log(case, ruling)
        failed = any(finding.result.status is Status.FAIL for finding in case.findings)
        if failed and self._reputation is not None:
            self._reputation.note(case.source, Evidence.SENDER_ID_FAIL)
        if ruling is None:
            return Pass(marks, results)
        self._count(SENDERID_ACTIONS[Action.PARTLY_DROPPED if spared else ACTIONS[type(ruling)]])
        if spared or isinstance(ruling, Discard):
            maillog.message_dropped(
                session=view.session_id,
                mail_from=str(view.reverse_path or ""),
                recipients=[str(recipient) for recipient in judged],
                reason=ruling.rule,
                detail=ruling.detail,
            )
        return Pass(marks, results, tuple(judged)) if spared else ruling

    def _ruling(self, case: Case) -> Ruling | None:
        """Return the verdict of the settings on the findings: a Fail before a TempError, the responsible address before the envelope."""
        for finding in case.findings:
            action = self._action(finding)
            if finding.result.status is Status.FAIL and action == "Reject":
                submitted = case.view.submitter is not None and finding.identity.kind is IdentityKind.PRA
                reply = NOT_ALLOWED if submitted else refusal(finding)
                return Reject(reply, FAILS[finding.identity.kind], finding.result.reason)
            if finding.result.status is Status.FAIL and action == "Delete":
                return Discard(FAILS[finding.identity.kind], finding.result.reason)
        if self._settings.temp_error_action == "Reject":
            for finding in case.findings:
                by_pra = finding.identity.kind is IdentityKind.PRA
                if finding.result.status is Status.TEMP_ERROR and (by_pra or self._action(finding) != "StampStatus"):
                    return Tempfail(NOT_NOW[by_pra], TEMP_ERRORS[finding.identity.kind], finding.result.reason)
        return None

    def _action(self, finding: Finding) -> str:
        by_pra = finding.identity.kind is IdentityKind.PRA
        return self._settings.spoofed_domain_action if by_pra else self._settings.spf_mfrom_action

    def _log(self, case: Case, ruling: Ruling | None) -> None:
        checks = [
            maillog.Check(
                finding.identity.kind.value,
                finding.identity.domain,
                finding.result.status,
                finding.result.reason,
                finding.identity.lenient,
            )
            for finding in case.findings
        ]
        stopped = ruling.rule if ruling else ""
        maillog.sender_checked(session=case.view.session_id, source=case.source, checks=checks, reason=stopped)


def refusal(finding: Finding) -> Reply:
    """Return the reply to a Fail. A stranger's explanation is shown as the domain's own (RFC 7208 6.2, 11.3)."""
    identity, result = finding.identity, finding.result
    if not identity.mailbox:
        return NO_PRA
    explained = f" - the domain {identity.domain} explains: {result.explanation}" if result.explanation else ""
    if identity.kind is IdentityKind.PRA:
        return Reply.showing(550, "5.7.1", f"Sender ID (PRA) {result.reason}{explained}")
    name = "HELO" if identity.kind is IdentityKind.HELO else "MAIL FROM"
    return Reply.showing(550, "5.7.23", f"SPF ({name}) {result.reason}{explained}")


def auth_result(finding: Finding) -> AuthResult:
    """Return the value that goes with the message in its envelope."""
    identity, result = finding.identity, finding.result
    method = Method.SENDER_ID if identity.kind is IdentityKind.PRA else Method.SPF
    return AuthResult(method, result.status, identity.place, identity.domain, result.reason)
