"""What a session does with a conclusion of policy: the step that follows, and the line in the log.

Pure but for the session and its log: reads no socket, keeps nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from mailmoat.policy.verdict import Discard, Pass, Reject, Report, Tempfail

if TYPE_CHECKING:
    from mailmoat._native import Session, Step
    from mailmoat.metrics import Metrics
    from mailmoat.receive.session_log import SessionLog
    from mailmoat.receive.view import View


def stop(
    conclusion: Reject | Tempfail | Report | Discard, session: Session, view: View, log: SessionLog, metrics: Metrics
) -> Step:
    """Give the session a conclusion that ends something."""
    log.decided(conclusion.rule, metrics)
    match conclusion:
        case Reject(reply=reply, rule=rule, detail=detail) | Tempfail(reply=reply, rule=rule, detail=detail):
            step = session.refuse(reply.code, reply.enhanced, reply.text)
            log.refused(session, view, rule, detail)
            return step
        case Report(reply=reply):
            return session.report(reply.code, reply.enhanced, reply.text)
        case Discard():
            return session.discard()
    assert_never(conclusion)


def go_on(passed: Pass, session: Session, view: View, log: SessionLog) -> Step:
    """Give the session what agents changed."""
    if passed.tarpit is not None:
        session.hold_refusals(round(passed.tarpit * 1000))
    if passed.redirected:
        log.redirected(session, view, passed.redirected)
        return session.redirect(passed.redirected)
    if passed.dropped:
        session.drop_recipients([str(dropped) for dropped in passed.dropped])
    return session.pass_()
