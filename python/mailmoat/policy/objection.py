"""What a filter finds wrong with a client or a sender, and what follows from it at each stage.

Refused is at RCPT, as for blocked clients: the log then has the recipients, and `OpenRecipients` stay reachable. What goes on is stamped at
the end of the header section, whatever the action. Dropped is there as well, so that relay control and the recipient filter decide first. Only clients that
filters judge (`Trust.judged`) and that no list of known good ones has are asked about. A filter gives its objections and decides nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailmoat import maillog
from mailmoat.policy.agent import Agent
from mailmoat.policy.filter_stamp import FilterRule, filter_stamp
from mailmoat.policy.known_good import KnownGood
from mailmoat.policy.open_recipients import OpenRecipients
from mailmoat.policy.verdict import PASS, PERMANENT, Discard, Pass, Reject, Tempfail
from mailmoat.reputation.once import OncePerSession

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from mailmoat.policy.agent import RcptView, SessionView
    from mailmoat.policy.client import ClientKind
    from mailmoat.policy.domain_lookups import DomainLookups
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Reply, Verdict
    from mailmoat.reputation.evidence import Evidence


@dataclass(frozen=True, slots=True)
class Objection:
    """One thing that a filter finds wrong."""

    rule: FilterRule
    action: str
    """`stamp`, `reject` or `drop`."""
    reply: Reply
    """That of a refusal; a 4xx code when the same may be fine later, then it is never stamped."""
    detail: str = ""
    """For log and stamp."""
    evidence: Evidence | None = None
    """What it says of the client's reputation."""

    @property
    def lasts(self) -> bool:
        """Whether it is more than an answer that did not come."""
        return self.reply.code // 100 == PERMANENT


Objections = tuple[Objection, ...]
NONE: Objections = ()


class Filter(Agent, ABC):
    """An agent that has objections, or none."""

    _lookups: DomainLookups | None = None
    """Answers in the DNS that objections can follow from."""

    def __init__(self, services: Services) -> None:
        self._open = OpenRecipients(services.settings)
        self._known_good = KnownGood(services.known_good)
        self._evidence = OncePerSession(services.reputation)

    @abstractmethod
    def objections(self, view: SessionView) -> Objections | Awaitable[Objections]:
        """Return what is wrong with the client, or with the sender in the envelope; an awaitable when the DNS has to answer."""

    def judges(self, view: SessionView) -> bool:
        """Return whether this client is judged; from RCPT on, one that an allow list in the DNS has is not."""
        client = view.client
        return client.trust.judged and client not in self._known_good

    def concerns(self, kind: ClientKind) -> bool:
        """Return whether it is judged."""
        return kind.trust.judged

    def on_rcpt(self, view: RcptView) -> Verdict | Awaitable[Verdict]:
        """Refuse for the first objection whose action is that, unless anybody can reach the recipient."""
        if not self.judges(view):
            return PASS
        if self._lookups is not None and view.recipient in self._open:
            return PASS  # no lookup is waited for
        found = self.objections(view)
        if not isinstance(found, tuple):
            return self._refuse_later(view, found)
        return self._refuse(view, found) if found and view.recipient not in self._open else PASS

    def on_end_of_headers(self, view: SessionView) -> Verdict | Awaitable[Verdict]:
        """Stamp the message, or drop it."""
        if not self.judges(view):
            return PASS
        found = self.objections(view)
        return self.conclude(view, found) if isinstance(found, tuple) else self._conclude_later(view, found)

    async def _refuse_later(self, view: SessionView, found: Awaitable[Objections]) -> Verdict:
        return self._refuse(view, await found)

    async def _conclude_later(self, view: SessionView, found: Awaitable[Objections]) -> Verdict:
        return self.conclude(view, await found)

    def conclude(self, view: SessionView, found: Objections) -> Verdict:
        """Return what becomes of a message with these objections."""
        if not found:
            return PASS
        found = tuple(each for each in found if each.lasts)
        dropped = next((each for each in found if each.action == "drop"), None)
        return self.stop(view, found, dropped) if dropped else self.stamp(found)

    @staticmethod
    def stamp(found: Objections) -> Pass:
        """Let the message go on with a header field for each objection."""
        return Pass(tuple(filter_stamp(each.rule, each.detail) for each in found)) if found else PASS

    def stop(self, view: SessionView, found: Objections, cause: Objection) -> Verdict:
        """Keep the message from all but the open recipients. With such a one among them, the reply cannot be a refusal: it is one for all."""
        stopped = tuple(recipient for recipient in view.recipients if recipient not in self._open)
        if not stopped:
            return self.stamp(found)
        if len(stopped) == len(view.recipients) and cause.action == "reject":
            return Reject(cause.reply, cause.rule, cause.detail)
        maillog.message_dropped(
            session=view.session_id,
            mail_from=str(view.reverse_path or ""),
            recipients=[str(recipient) for recipient in stopped],
            reason=cause.rule,
            detail=cause.detail,
        )
        if len(stopped) == len(view.recipients):
            return Discard(cause.rule, cause.detail)
        return Pass(self.stamp(found).stamps, dropped=stopped)

    def note(self, view: SessionView, found: Objections) -> None:
        """Record what speaks against the client."""
        for each in found:
            if each.evidence is not None:
                self._evidence.note(view.session_id, view.client.address, each.evidence, each.detail)

    def _refuse(self, view: SessionView, found: Objections) -> Verdict:
        self.note(view, found)
        for each in found:
            if each.action == "reject":
                refuse = Reject if each.lasts else Tempfail
                return refuse(each.reply, each.rule, each.detail)
        return PASS
