"""Authentication in a session (RFC 4954): carries what the client says to the backend of its exchange, and the answer to the session.

Promises: a source with too many failures asks nobody, and what it asked before tells it nothing, however much it asks at once; a backend that raises, or does not answer in time, is a temporary failure for its
client, and neither its text nor what the client said reaches the log or the wire; from success on the view of the session has the
identity and its trust. Every failure is counted, and is one line in the log. Never decides who a client is: that is the backend's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, assert_never, cast

from mailmoat import maillog
from mailmoat.auth.authenticator import Cause, Challenge, Channel, Failure, Success
from mailmoat.auth.mechanism import AUTH_FAILURES, AUTHENTICATED, Mechanism, label
from mailmoat.events import Event
from mailmoat.limits.limiter import LimitClass, words
from mailmoat.mailauth.results import AuthResult, Method, Status
from mailmoat.receive import conduct
from mailmoat.runtime.deadline import Deadline

if TYPE_CHECKING:
    from mailmoat._native import Session, Step
    from mailmoat.auth.authenticator import Answer, Authenticator, Exchange
    from mailmoat.policy.client import Client
    from mailmoat.receive.receiver import Receiver
    from mailmoat.receive.view import View

BACKEND_TIME: Final = 60.0
"""Seconds a backend has for an answer. RFC 6409 5.3: a reply should come in less than two minutes."""
NAME: Final = 64
"""Characters of a name in the log: it is whatever a stranger wrote."""

WRONG: Final = (535, "5.7.8", "Authentication credentials invalid")
MALFORMED: Final = (501, "5.5.2", "The response is not what the mechanism asks for")
NOT_NOW: Final = (454, "4.7.0", "Temporary authentication failure; try again later")
TOO_MANY: Final = (454, "4.7.0", "Too many failed authentications from your address; try again later")
REPLIES: Final = {
    Cause.CREDENTIALS: WRONG,
    Cause.MALFORMED: MALFORMED,
    Cause.CHANNEL: WRONG,
    Cause.REFUSED: WRONG,
    Cause.BUSY: NOT_NOW,
    Cause.UNAVAILABLE: NOT_NOW,
    Cause.TOO_MANY: TOO_MANY,
}
"""RFC 4954 6. A client that may not learn whether a password is right gets one reply."""


def channel(client: Client) -> Channel:
    """Return what a mechanism may know of the connection."""
    place, tls = client.listener.host, client.tls
    if tls is None:
        return Channel(client.address, place, secured=False)
    return Channel(client.address, place, secured=True, exporter=tls.exporter, end_point=tls.end_point)


def offer(receiver: Receiver, session: Session, view: View) -> Authentication | None:
    """Offer what the client can authenticate by, before its greeting; None when there is nothing."""
    if view.client.listener.submission:
        session.require_auth()
    if receiver.authenticator is None:
        return None
    authentication = Authentication(receiver, receiver.authenticator, session, view)
    authentication.offer()
    return authentication


def results(client: Client) -> tuple[AuthResult, ...]:
    """Return what the envelope of a message keeps of its client's authentication (RFC 8601 2.7.4)."""
    return (AuthResult(Method.AUTH, Status.PASS, "smtp.auth", ""),) if client.identity is not None else ()


class Authentication:
    """The exchanges of one session, one after the other."""

    __slots__ = ("_authenticator", "_exchange", "_is_bound", "_mechanism", "_receiver", "_session", "_view")

    def __init__(self, receiver: Receiver, authenticator: Authenticator, session: Session, view: View) -> None:
        self._receiver, self._authenticator = receiver, authenticator
        self._session, self._view = session, view
        self._exchange: Exchange | None = None
        self._mechanism = ""
        self._is_bound = False
        """An exchange had the binding of this TLS connection."""

    def offer(self) -> None:
        """Offer what the client can authenticate by now: to be called again when TLS is on."""
        self._is_bound = False
        mechanisms = self._authenticator.mechanisms(channel(self._view.client))
        if mechanisms and self._receiver.guessers.has(self._view.client):
            mechanisms = ()
        self._session.offer_auth(list(mechanisms))

    def ask(self) -> Step | Awaitable[Answer]:
        """Give the backend what the client said; the step that follows, or an awaitable of its answer, to be awaited in a task."""
        answer = self._answer()
        return self._wait(answer) if isinstance(answer, Awaitable) else self.answered(answer)

    def answered(self, answer: Answer) -> Step:
        """Give the session what the backend answered; the step that follows."""
        match answer:
            case Challenge(octets=octets):
                return self._session.challenge(octets)
            case Success() if self._receiver.guessers.has(self._view.client):  # since it was asked: one of many at once
                return self.answered(self._too_many())
            case Success(identity=identity):
                self._exchange = None
                client, trust = self._view.client, self._receiver.trust
                self._view.client = replace(
                    client, identity=identity, trust=trust.authenticated(client.trust, identity)
                )
                self._receiver.metrics.add(AUTHENTICATED[label(self._mechanism)])
                step = self._session.authenticated()
                self._receiver.screen(self._session, self._view.client)
                return step
            case Failure():
                self._exchange = None
                return self._failed(answer)
        assert_never(answer)

    def _answer(self) -> Answer | Awaitable[Answer]:
        self._mechanism, response, begins = cast("tuple[str, bytes | None, bool]", self._session.sasl)
        try:
            if self._receiver.guessers.has(self._view.client):
                return self._too_many()
            if begins:
                self._exchange = self._authenticator.begin(self._mechanism, self._channel())
            if self._exchange is None:  # what was offered is not there any more
                return Failure(Cause.UNAVAILABLE)
            return self._exchange.respond(response)
        except Exception as error:  # noqa: BLE001 - the joint between us and a backend
            return self._broken(error)

    def _channel(self) -> Channel:
        """Return the channel for an exchange that begins. Only one of a TLS connection may have `tls-exporter` (RFC 9266 4.1)."""
        known = channel(self._view.client)
        if self._mechanism != Mechanism.SCRAM_SHA_256_PLUS:
            return known
        was_bound, self._is_bound = self._is_bound, True
        return replace(known, exporter=b"") if was_bound else known

    def _too_many(self) -> Failure:
        return Failure(
            Cause.TOO_MANY, wait=self._receiver.rates.wait(LimitClass.AUTH_FAILURES, self._view.client.address)
        )

    def _charged(self, failure: Failure) -> Failure:
        """Count a failure. Of many guesses at once those that are too many learn no more than a right one would."""
        receiver, view, client = self._receiver, self._view, self._view.client
        if failure.cause.temporary or client.trust.exempt:
            return failure
        wait = receiver.rates.spend(LimitClass.AUTH_FAILURES, client.address)
        if wait:
            return replace(failure, cause=Cause.TOO_MANY, wait=wait)
        if receiver.guessers.has(client):
            maillog.event(Event.AUTH_SUSPENDED, session=view.session_id, client=client.address)
        return failure

    def _failed(self, failure: Failure) -> Step:
        receiver, view, client = self._receiver, self._view, self._view.client
        failure = self._charged(failure)
        cause = failure.cause
        if not cause.temporary:
            conduct.not_authenticated(receiver.reputation, client)
        receiver.metrics.add(AUTH_FAILURES[label(self._mechanism), cause])
        code, enhanced, text = REPLIES[cause]
        if failure.wait:
            text = text.replace("later", f"in {words(failure.wait)}")
        maillog.event(
            Event.AUTH_FAILED,
            session=view.session_id,
            client=client.address,
            client_name=client.name,
            helo=self._session.helo_name,
            login=failure.name[:NAME],
            mechanism=self._mechanism,
            reason=cause,
            reply=f"{code} {enhanced} {text}",
        )
        return self._session.not_authenticated(code, enhanced, text)

    async def _wait(self, awaited: Awaitable[Answer]) -> Answer:
        task = cast("asyncio.Task[object]", asyncio.current_task())
        deadline = Deadline(task)
        key = self._receiver.timers.after(BACKEND_TIME, deadline)
        try:
            return await awaited
        except asyncio.CancelledError as error:
            if not deadline.ends_this() and task.cancelling():
                raise  # the session is over
            return self._broken(error)
        except Exception as error:  # noqa: BLE001 - the same joint
            return self._broken(error)
        finally:
            self._receiver.timers.cancel(key)

    def _broken(self, error: BaseException) -> Failure:
        """Log the kind of an error alone: its text may hold a secret."""
        kind = "no answer in time" if isinstance(error, asyncio.CancelledError) else type(error).__name__
        maillog.event(Event.AUTH_BACKEND_FAILED, session=self._view.session_id, mechanism=self._mechanism, error=kind)
        return Failure(Cause.UNAVAILABLE)
