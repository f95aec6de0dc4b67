"""Takes the steps of a session machine: asks policy and backends, and gives the machine what they say.

Promises: replies leave in order; whatever goes wrong between a verdict and the wire ends the session with a 421 and a line in the log,
and costs no other session anything. Never decides anything: verdicts come from the pipeline, identities from the backend of `auth`,
durability from the store. Never reads or writes a socket: that is its `Wire` (RFC 5321 3, RFC 3207, RFC 4954).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, cast

from mailmoat._native import End, Session, Stage, Step
from mailmoat.policy.verdict import PASS, Discard, Pass, Reject, Report, Tempfail
from mailmoat.receive import authentication, client_name, conclusions, conduct, xclient
from mailmoat.receive.carried import carry, of_message
from mailmoat.receive.held import Hold
from mailmoat.receive.intake import AHEAD
from mailmoat.receive.session_log import SessionLog
from mailmoat.receive.timeouts import Watch
from mailmoat.receive.view import View

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from mailmoat._native import Address, Message
    from mailmoat.policy.client import Client
    from mailmoat.policy.verdict import Conclusion
    from mailmoat.receive.authentication import Authentication
    from mailmoat.receive.carried import Carried
    from mailmoat.receive.receiver import Receiver
    from mailmoat.receive.wire import Wire

# Here, since a member is slow to reach through its class: Python 3.11 looks for a `__getattr__` of the enum first.
NEED_INPUT, ASK, HOLD, COMMIT, CLOSE = Step.NEED_INPUT, Step.ASK, Step.HOLD, Step.COMMIT, Step.CLOSE
START_TLS, SECURED, WAIT, YIELD = Step.START_TLS, Step.SECURED, Step.WAIT, Step.YIELD
RCPT = Stage.RCPT


class Steps(ABC):
    """What follows from each step of one session; `started` is when its connection was made, on the monotonic clock."""

    __slots__ = (
        "_asked", "_authentication", "_carried", "_handshaking", "_hold", "_log", "_receiver", "_source", "_watch", "_wire",
        "session", "view",
    )  # fmt: skip

    def __init__(self, receiver: Receiver, wire: Wire, client: Client, started: float) -> None:
        session_id = receiver.next_session_id()
        self._receiver, self._wire = receiver, wire
        self._asked: asyncio.Task[None] | None = None
        self._authentication: Authentication | None = None
        self._carried: Carried = ()
        self._hold: Hold | None = None
        self._handshaking = False
        self._source, self._log = b"", SessionLog()
        self._watch = Watch(receiver.timeouts, started)
        self.session = Session(receiver.config, session_id, client.address, client.trust.exempt)
        self.view = View(self.session, session_id, client, receiver.firewall)
        receiver.screen(self.session, client)
        receiver.handshakes.prepare(self.session, self.view)
        receiver.front_servers.offer(self.session, client.address)

    def run(self, move: Callable[..., Step], *arguments: object) -> None:
        """Move the session and follow its steps, as far as it goes by itself."""
        try:
            self._follow(move(*arguments))
        except Exception as error:  # noqa: BLE001 - the joint: whatever is wrong here costs this client its session, nobody else
            self._failed(error)

    def stop(self, end: End, enhanced: str, text: str) -> None:
        """Say 421 and close, wherever the session is."""
        if self._wire.is_closing:
            return
        self._leave_hold()
        if self._asked is not None:
            self._asked.cancel()
            self._asked = None
        self.session.stop(end, enhanced, text)
        self._flush()
        self._close()

    def done(self, error: str | None, message: Message | None) -> None:
        """Reply to the end of data: the message is on disk, or `error` says why not."""
        self._watch.touch()
        if error is None and message is not None:
            self._log.accepted(self.session, self.view, message, self._receiver.metrics)
            if (reputation := self._receiver.reputation) is not None:
                conduct.accepted(reputation, self.view.client, message)
        if self._wire.is_closing:
            return  # It is delivered all the same; the client may send it again (RFC 5321 6.1).
        if error is None:
            self.run(self.session.committed)
        else:
            self._log.not_stored(self.view, error)
            self.run(self.session.not_committed, 452, "4.3.1", "Insufficient system storage; try again later")

    @abstractmethod
    def due(self) -> None:
        """Handle a deadline."""

    @abstractmethod
    def evict(self) -> None:
        """Close, held longest of too many."""

    @abstractmethod
    def make_way(self) -> None:
        """Close, idle longest of too many."""

    def _follow(self, step: Step) -> None:
        """Take the step, and those that follow at once."""
        session, receiver = self.session, self._receiver
        while step is ASK:
            decided = self._ask()
            if decided is None:
                return
            step = decided
        if session.has_refused:
            self._log.refused(session, self.view)
        # What ends the handshake goes out with the reply to the command behind it.
        answered = step is not SECURED and self._flush()
        if step is NEED_INPUT:
            self._await_input(answered=answered)
            return
        receiver.stress.leaves(self)
        if step is COMMIT:
            self._commit()
        elif step is HOLD:
            self._begin_hold()
        else:
            self._act(step)

    def _act(self, step: Step) -> None:
        """Do what a step asks for, other than those that are so frequent that they have their place in `_follow`."""
        if step is CLOSE:
            self._close()
        elif step is START_TLS:
            self._follow(self._start_tls())
        elif step is SECURED:
            self._follow(self._secured())
        elif step is WAIT:
            self._look_ahead()
        elif step is YIELD and self.session.makes_no_progress:
            self._wire.give_way()
        elif step is YIELD:
            self._wire.take_turns()
        elif step is Step.AUTHENTICATE:
            self._authenticate()
        elif step is Step.REPLACE_CLIENT:
            self._follow(self._replace_client())

    def _ask(self) -> Step | None:
        """Ask policy; the step that follows, None when it decides later."""
        session, receiver, view = self.session, self._receiver, self.view
        if session.has_refused:  # by the machine alone, before policy is asked
            self._log.refused(session, view)
        if receiver.names is not None and not view.client.name:
            client_name.learn(receiver.names, view, session, receiver.loop)
        stage = session.stage
        if stage is RCPT:
            view.recipient = cast("Address", session.recipient)
        conclusion = receiver.pipeline.run(stage, view, session.asked)
        if conclusion is PASS and stage is not RCPT and not self._carried:
            return session.pass_()  # what becomes of most questions
        if isinstance(conclusion, (Pass, Report, Reject, Tempfail, Discard)):
            return self._answer(conclusion)
        self._flush()
        receiver.stress.leaves(self)
        self._asked = receiver.loop.create_task(self._wait(conclusion, self._answer))
        return None

    async def _wait(self, awaited: Awaitable[Any], answer: Callable[[Any], Step]) -> None:
        try:
            answered = await awaited
        except BaseException as error:  # noqa: BLE001 - the same joint: else the client waits for ever
            if self._asked is not None:  # else the session is over
                self._failed(error)
            return
        self._asked = None
        if not self._wire.is_closing:
            self._watch.touch()
            self.run(answer, answered)

    def _answer(self, conclusion: Conclusion) -> Step:
        """Give the session what policy concluded; the step that follows."""
        session = self.session
        if session.stage is RCPT:
            del self.view.recipient  # else a session that is held keeps it
        if not isinstance(conclusion, Pass):
            return conclusions.stop(conclusion, session, self.view, self._log, self._receiver.metrics)
        if conclusion is PASS and not self._carried:
            return session.pass_()
        if conclusion.stamps or conclusion.results or self._carried:
            self._carried = carry(self._carried, session, conclusion)
        return conclusions.go_on(conclusion, session, self.view, self._log)

    def _authenticate(self) -> None:
        """Ask the backend of the exchange."""
        exchange = cast("Authentication", self._authentication)
        if isinstance(asked := exchange.ask(), Step):
            self._follow(asked)
        else:
            self._asked = self._receiver.loop.create_task(self._wait(asked, exchange.answered))

    def _greet(self) -> Step:
        self._authentication = authentication.offer(self._receiver, self.session, self.view)
        return self.session.connect()

    def _replace_client(self) -> Step:
        """Make the session that of the client which a server in front names."""
        self._carried = ()
        self._source, step = xclient.replace_client(self._receiver, self.view, self.session, self._source)
        self._receiver.screen(self.session, self.view.client)
        return step

    def _start_tls(self) -> Step:
        step = self._receiver.handshakes.begin(self.session, self.view, self._give_up_handshake)
        self._handshaking = self.session.handshaking
        if self._handshaking:
            self._watch.wake_after(self._receiver.handshakes.seconds, self)
        return step

    def _secured(self) -> Step:
        self._handshaking = False
        self._watch.arm(self)
        self._receiver.handshakes.done(self.session, self.view)
        self._receiver.screen(self.session, self.view.client)
        if self.view.client.listener.implicit_tls:
            return self._greet()
        if self._authentication is not None:
            self._authentication.offer()
        return self.session.proceed()

    def _leave_handshake(self, *, timeout: bool = False) -> None:
        if self._handshaking:
            self._handshaking = False
            self._receiver.handshakes.failed(self.session, self.view, timeout=timeout)

    def _give_up_handshake(self) -> None:
        self._leave_handshake(timeout=True)
        self._wire.abort()

    def _begin_hold(self) -> None:
        hold = self._hold = Hold(self, self._receiver.held)
        self._watch.wake_after(self.session.hold / 1000, hold)
        self._receiver.held.enter(hold, self.session.hold)
        self._look_ahead()

    def _look_ahead(self) -> None:
        """Read no further while a reply is owed, once there is much input ahead of it."""
        if self.session.buffered > self._receiver.held_input:
            self._wire.intake.stop(AHEAD)

    def _leave_hold(self) -> None:
        if self._hold is not None:
            self._receiver.held.leave(self._hold)
            self._hold = None

    def _await_input(self, *, answered: bool) -> None:
        """Wait for more input; end the session if its client has closed its sending side."""
        if self._wire.intake.ended or (self.view.client.tls is not None and self.session.tls_closed):
            self._close()
            return
        self._wire.intake.go_on(AHEAD)
        if not answered:
            if self.session.in_content:
                self._watch.touch()
            return  # an unfinished line changes nothing: a command has its time up to its last octet
        self._watch.touch()
        if self.session.in_content:
            self._receiver.stress.leaves(self)
        else:
            self._receiver.stress.waits(self, in_transaction=self.session.in_transaction)

    def _commit(self) -> None:
        stamps, results = of_message(self._carried, self.session)
        results += authentication.results(self.view.client)
        message = self._receiver.message(self.session, self.view, stamps, results)
        if message is None:
            self._receiver.loop.call_soon(self.done, None, None)  # not at once: each message would be a call deeper
        else:
            self._receiver.store.insert(self, message)

    def _flush(self) -> bool:
        """Write the replies there are; whether there was one."""
        if output := self.session.output():
            self._wire.write(output)
        return bool(output)

    def _close(self) -> None:
        if not self._wire.is_closing:
            self._receiver.stress.leaves(self)
            self._leave_handshake()
            self._watch.cancel()
            self._wire.close()

    def _failed(self, error: BaseException) -> None:
        self._log.failed(self.view, error)
        self.stop(End.FAULT, "4.3.0", f"Local error in processing; session {self.view.session_id}")
