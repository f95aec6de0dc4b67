"""A connection: carries octets and steps between a transport and its session machine (RFC 5321 3, 4.5.3.2).

Promises: replies leave in order; what the peer pipelines while its session is held or a question is open is kept up to
`limits.held_input` and one read more, and then not read; nor is a peer that does not take its replies. A peer that closes its sending
side still gets every reply to what it sent completely, and then the connection is closed. One turn of the loop reads a few buffers of a
connection and works on so many commands; then the others have theirs. A peer that goes away frees its session at once, its place
when its hold is over. A timer per connection ends it when it says nothing for too long or lasts too long, and cuts it off when it
does not take the last reply. Never decides anything: verdicts come from the pipeline, durability from the store.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, cast

from mailmoat import _native, clock, maillog
from mailmoat._native import Stage, Step
from mailmoat.metrics import (
    MESSAGES_ACCEPTED,
    OCTETS_ACCEPTED,
    REPLIES,
    TARPIT_DISCONNECTED,
    TARPIT_HOLDS,
    TARPIT_SESSION_LIMIT,
    TARPIT_TIME,
)
from mailmoat.net.address import peer_address
from mailmoat.net.proxy import Malformed, ProxyHeader
from mailmoat.policy.agent import Discard, Pass, Reject, Report, Tempfail
from mailmoat.receive.held import Hold
from mailmoat.receive.intake import AHEAD, CLOGGED, TURN, Intake
from mailmoat.receive.session_log import SessionRecord

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from mailmoat._native import Address, Message
    from mailmoat.policy.agent import SessionView, Verdict
    from mailmoat.receive.receiver import Receiver

# Here, since a member is slow to reach through its class.
NEED_INPUT, ASK, HOLD, COMMIT, CLOSE, YIELD = Step.NEED_INPUT, Step.ASK, Step.HOLD, Step.COMMIT, Step.CLOSE, Step.YIELD
RCPT = Stage.RCPT
PROXY_SECONDS = 3.0
LINGER_SECONDS = 10.0  # what the last reply has to leave in
BUSY_SECONDS = 1.0


class Connection(asyncio.BufferedProtocol):
    """One TCP connection of a worker and its session; the agents' `SessionView`."""

    __slots__ = (
        "_asked",
        "_hold",
        "_intake",
        "_proxy",
        "_receiver",
        "_record",
        "_session",
        "_source",
        "_stamps",
        "_started",
        "_timer",
        "_touched",
        "_transport",
        "peer",
        "session_id",
    )

    def __init__(self, receiver: Receiver, proxy: ProxyHeader | None) -> None:
        self._receiver = receiver
        self._proxy = proxy
        self._session: _native.Session | None = None
        self._asked: asyncio.Task[None] | None = None
        self._record = SessionRecord()
        self._stamps: list[tuple[int, bytes]] = []
        self._hold: Hold | None = None
        self._timer = 0
        self._source = b""
        self.peer = ""
        self.session_id = ""

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Opens the session, or waits for the PROXY header first."""
        self._transport = cast("asyncio.Transport", transport)
        self._intake = Intake(self._transport, self._receiver.timers)
        self._started = self._touched = clock.monotonic()
        self.peer = peer = peer_address(transport.get_extra_info("peername"))
        self._receiver.opened(self)
        if self._proxy is None:
            self._begin(peer)
        elif self._receiver.may_speak_proxy(peer):
            self._timer = self._receiver.timers.after(PROXY_SECONDS, self)
        else:
            if peer:  # else it was reset before it was accepted, as checks of a balancer are
                maillog.event("proxy-refused", level="warning", client=peer)
            self._transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the protocol's signature
        """Gives the worker's one buffer: what is read is taken out of it before anything else is read."""
        return self._receiver.input

    def buffer_updated(self, nbytes: int) -> None:
        """Hands octets to the session."""
        octets = bytes(self._receiver.input[:nbytes])
        session = self._session
        if session is None:
            self._read_proxy(octets)
            return
        self._touched = clock.monotonic()
        if nbytes == len(self._receiver.input) and self._intake.filled():
            self._yield()  # what there is more waits in the kernel until the others had their turn
        self._run(session.receive(octets))

    def eof_received(self) -> bool:
        """The peer will say nothing more: it still gets the replies to all that it has said, and then the connection is closed."""
        session = self._session
        if session is None:
            return False
        self._intake.end()
        self._run(session.proceed())
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Frees everything but the place of a hold, and writes the session's line."""
        receiver, hold = self._receiver, self._hold
        if self._asked is not None:
            self._asked.cancel()
        session = self._session
        if session is not None:
            self._log(session)
            if receiver.asks_disconnect:
                receiver.pipeline.ended(self)
        receiver.closed(self)
        if hold is None:
            receiver.timers.cancel(self._timer)
            receiver.give_back(self._source)
        else:
            self._hold = None
            receiver.metrics.add(TARPIT_DISCONNECTED)
            hold.abandoned(partial(receiver.give_back, self._source))

    def pause_writing(self) -> None:
        """The peer does not read its replies: read nothing more from it."""
        self._intake.stop(CLOGGED)

    def resume_writing(self) -> None:
        """The peer reads again: go on where its session was left."""
        self._intake.go_on(CLOGGED)
        self._yield()

    # The agents' side.

    @property
    def hello(self) -> str:
        """Name given with HELO or EHLO."""
        return self._session.helo_name if self._session else ""

    @property
    def reverse_path(self) -> Address | None:
        """None is the null reverse-path."""
        return self._session.reverse_path if self._session else None

    @property
    def recipients(self) -> tuple[Address, ...]:
        """Those accepted in the transaction and not dropped since."""
        return tuple(self._session.recipients) if self._session else ()

    @property
    def submitter(self) -> Address | None:
        """What the peer gave as SUBMITTER."""
        return self._session.submitter if self._session else None

    @property
    def head(self) -> bytes:
        """The header section, once it is there."""
        return self._session.header if self._session else b""

    # The worker's side.

    def due(self) -> None:
        """A hold is over, it is time to look for silence, or the last reply was not taken."""
        self._timer = 0
        session = self._session
        if session is None or self._transport.is_closing():
            self._leave_hold()
            self._transport.abort()
        elif self._hold is not None and not self._lasted():
            self._leave_hold()
            self._touched = clock.monotonic()
            self._arm()
            self._run(session.release())
        else:
            self._look_for_silence(session)

    def shed(self) -> None:
        """The host holds too many sessions and this one the longest."""
        self._stop("4.7.0", "Too many sessions are held; closing")

    def make_way(self) -> None:
        """There are nearly too many connections, and this one is idle."""
        self._stop("4.3.2", "Too many connections; closing idle ones")
        if self._intake.stops_for(CLOGGED):
            self._transport.abort()  # it takes no reply, and would keep its place until that is plain

    def drain(self, *, at_once: bool) -> None:
        """The worker is ending: say so between transactions, or `at_once` wherever the session is."""
        session = self._session
        if session is None:
            self._transport.abort()
        elif at_once or not (session.is_pending or session.in_transaction or self._idle() < 1):
            self._stop("4.3.2", "Service shutting down; try again later")

    def done(self, error: str | None, message: Message | None) -> None:
        """The store's word on the message of this session: on disk, or why not."""
        receiver, session = self._receiver, self._session
        if error is None and message is not None:
            self._record.accepted(message.queue_id, message.size)
            maillog.message_accepted(
                session=message.session_id,
                client=message.client,
                helo=self.hello,
                mail_from=message.reverse_path,
                recipients=[recipient.address for recipient in message.recipients],
                queue_id=message.queue_id,
                octets=message.size,
            )
            receiver.metrics.add(MESSAGES_ACCEPTED)
            receiver.metrics.add(OCTETS_ACCEPTED, message.size)
            receiver.accepted(message)
        if session is None or self._transport.is_closing():
            return  # It is delivered all the same; the peer may send it again (RFC 5321 6.1).
        self._touched = clock.monotonic()
        if error is None:
            self._run(session.committed())
        else:
            maillog.event("message-not-stored", level="error", session=self.session_id, reason=error)
            self._run(session.not_committed(452, "4.3.1", "Insufficient system storage; try again later"))

    # Inside.

    def _begin(self, peer: str) -> _native.Session:
        receiver = self._receiver
        self.peer = peer
        self.session_id = receiver.next_session_id()
        self._session = session = _native.Session(receiver.config, self.session_id, peer, receiver.tarpit.exempts(peer))
        self._source, refusal = receiver.admit(peer)
        self._arm()
        if refusal:
            self._stop("", refusal)  # a greeting: no enhanced status code (RFC 2034 4)
        else:
            self._run(session.connect())
        return session

    def _read_proxy(self, data: bytes) -> None:
        header = cast("ProxyHeader", self._proxy)
        result = header.feed(data)
        if result is None:
            return
        if isinstance(result, Malformed):
            maillog.event("proxy-malformed", level="warning", client=self.peer, reason=result.reason)
            self._transport.abort()
            return
        if self._timer:
            self._receiver.timers.cancel(self._timer)
        session = self._begin(result.source[0] if result.source else self.peer)
        if result.rest and not self._transport.is_closing():
            self._run(session.receive(result.rest))

    def _run(self, step: Step) -> None:
        try:
            self._follow(step)
        except Exception as error:  # noqa: BLE001 - the joint: whatever is wrong here costs this peer its session, nobody else
            maillog.event(
                "session-failed",
                level="error",
                session=self.session_id,
                client=self.peer,
                error=maillog.describe(error),
            )
            self._stop("4.3.0", f"Local error in processing; session {self.session_id}")

    def _follow(self, step: Step) -> None:
        """Take the step, and those that follow at once."""
        session = cast("_native.Session", self._session)
        while step is ASK:
            self._log_refused(session)  # by the machine alone, before policy is asked
            stage = session.stage
            recipient = session.recipient if stage is RCPT else None
            verdict = self._receiver.pipeline.run(stage, self, recipient)
            if not isinstance(verdict, (Pass, Report, Reject, Tempfail, Discard)):
                self._flush(session)
                self._receiver.stress.leaves(self)
                self._asked = self._receiver.loop.create_task(self._wait(verdict, recipient))
                return
            step = self._tell(session, verdict, recipient)
        self._log_refused(session)
        answered = self._flush(session)
        if step is NEED_INPUT:
            self._await_input(session, answered=answered)
            return
        self._receiver.stress.leaves(self)
        if step is YIELD:
            self._yield()
        elif step is HOLD:
            self._begin_hold(session)
        elif step is COMMIT:
            self._commit(session)
        elif step is CLOSE:
            self._close()
        elif session.buffered > self._receiver.held_input:
            self._intake.stop(AHEAD)

    def _flush(self, session: _native.Session) -> bool:
        """Write the replies there are; whether there was one."""
        output = session.output()
        if output:
            self._transport.write(output)
        return bool(output)

    def _await_input(self, session: _native.Session, *, answered: bool) -> None:
        """The session needs more; one whose peer has closed its sending side is at its end."""
        if self._intake.ended:
            self._close()
            return
        self._intake.go_on(AHEAD)
        if not answered:
            return  # an unfinished line changes nothing, nor does a piece of content
        if session.in_content:
            self._receiver.stress.leaves(self)
        else:
            self._receiver.stress.waits(self, in_transaction=session.in_transaction)

    def _yield(self) -> None:
        """Let the other connections have their turn before this one has another."""
        if not self._intake.stops_for(TURN):
            self._intake.stop(TURN)
            self._receiver.loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        """Go on with what the session has kept; one whose peer does not take its replies waits for that, and is idle."""
        self._intake.go_on(TURN)
        session = self._session
        if session is None or self._transport.is_closing():
            return
        if not self._intake.stops_for(CLOGGED):
            self._touched = clock.monotonic()
            self._run(session.proceed())
        elif not (session.is_pending or session.in_content):
            self._receiver.stress.waits(self, in_transaction=session.in_transaction)

    async def _wait(self, awaited: Awaitable[Verdict], recipient: Address | None) -> None:
        verdict = await awaited
        self._asked = None
        if self._session is not None and not self._transport.is_closing():
            self._touched = clock.monotonic()
            self._run(self._tell(self._session, verdict, recipient))

    def _tell(self, session: _native.Session, verdict: Verdict, recipient: Address | None) -> Step:
        if recipient is not None:
            code = 250
            if isinstance(verdict, (Reject, Tempfail)):
                code = verdict.reply.code
                self._receiver.count_refusal(verdict.rule)
            self._record.judged(session, recipient, code)
        if isinstance(verdict, Pass):
            if verdict.stamps:
                self._stamp(session, verdict.stamps)
            if verdict.redirected is not None:
                maillog.event(
                    "recipient-redirected",
                    session=self.session_id,
                    recipient=str(recipient),
                    to=str(verdict.redirected),
                )
                return session.redirect(verdict.redirected)
            if verdict.dropped:
                session.drop_recipients([str(dropped) for dropped in verdict.dropped])
            return session.pass_()
        if isinstance(verdict, Discard):
            self._record.decided(verdict.reason)
            return session.discard()
        self._record.decided(verdict.rule)
        reply = verdict.reply
        if isinstance(verdict, Report):
            return session.report(reply.code, reply.enhanced, reply.text)
        step = session.refuse(reply.code, reply.enhanced, reply.text)
        self._log_refused(session, verdict.rule)
        return step

    def _log_refused(self, session: _native.Session, rule: str = "") -> None:
        """A line for each refusal; `rule` decided the first of them."""
        if not session.has_refused:
            return
        for refusal in session.take_refused():
            maillog.refused(
                session=self.session_id,
                client=self.peer,
                helo=session.helo_name,
                mail_from=refusal.mail_from,
                recipient=refusal.recipient,
                command=refusal.command,
                reply=refusal.reply,
                rule=rule,
            )
            rule = ""

    def _stamp(self, session: _native.Session, stamps: tuple[bytes, ...]) -> None:
        """Keep stamps with what they are for: one transaction by its number, or the session (0), whose HELO may be said again (-1)."""
        stage = session.stage
        of = {Stage.CONNECT: 0, Stage.HELO: -1, Stage.MAIL: session.transactions + 1}
        number = of.get(stage, session.transactions)
        self._stamps = [kept for kept in self._stamps if kept[0] == 0 or (kept[0] == -1) != (number == kept[0])]
        self._stamps += [(number, stamp) for stamp in stamps]

    def _begin_hold(self, session: _native.Session) -> None:
        receiver = self._receiver
        hold = session.hold
        receiver.metrics.add(TARPIT_HOLDS)
        receiver.metrics.add(TARPIT_TIME, hold)
        receiver.timers.cancel(self._timer)
        self._hold = Hold(self, receiver.held)
        self._timer = receiver.timers.after(hold / 1000, self._hold)
        receiver.held.enter(self._hold)
        if session.buffered > receiver.held_input:
            self._intake.stop(AHEAD)

    def _leave_hold(self) -> None:
        if self._hold is not None:
            self._receiver.held.leave(self._hold)
            self._hold = None

    def _commit(self, session: _native.Session) -> None:
        receiver = self._receiver
        queue_id = receiver.store.next_queue_id()
        now = clock.wall_ms()
        stamps = b"".join(stamp for number, stamp in self._stamps if number in (-1, 0, session.transactions))
        message = session.message(
            queue_id=queue_id,
            arrival=now,
            date=receiver.date(now),
            stamps=stamps,
            firewall=receiver.firewall(self.peer),
        )
        if message is None:
            self._run(session.committed())
        else:
            receiver.store.insert(self, message)

    def _close(self) -> None:
        """Ends the connection once the peer has read what is written, and soon in any case."""
        if not self._transport.is_closing():
            self._transport.close()
            self._receiver.stress.leaves(self)
            self._receiver.timers.cancel(self._timer)
            self._timer = self._receiver.timers.after(LINGER_SECONDS, self)

    def _stop(self, enhanced: str, text: str) -> None:
        session = cast("_native.Session", self._session)
        if self._transport.is_closing():
            return
        self._leave_hold()
        if self._asked is not None:
            self._asked.cancel()
            self._asked = None
        session.stop(421, enhanced, text)
        self._flush(session)
        self._close()

    def _idle(self) -> float:
        return clock.monotonic() - self._touched

    def _limit(self, session: _native.Session) -> float:
        limits = self._receiver.settings.limits
        return limits.data_time if session.in_content else limits.command_time

    def _lasted(self) -> bool:
        """Whether the session has had all its time."""
        most = self._receiver.settings.limits.session_time
        return bool(most) and clock.monotonic() - self._started >= most

    def _arm(self) -> None:
        """Looks again when the shortest of the session's times could be over; 0 switches a time off."""
        limits = self._receiver.settings.limits
        idle = self._idle()
        # A limit that is over is the one that does not hold now: when it comes to hold, it begins anew.
        waits = [limit - idle if idle < limit else limit for limit in (limits.command_time, limits.data_time) if limit]
        if limits.session_time:
            waits.append(self._started + limits.session_time - clock.monotonic())
        if waits:
            self._timer = self._receiver.timers.after(max(min(waits), 0.01), self)

    def _look_for_silence(self, session: _native.Session) -> None:
        limit = self._limit(session)
        if self._lasted() and (self._hold is not None or not session.is_pending):
            self._stop("4.4.2", "Session lasted too long; closing")
        elif session.is_pending:
            self._timer = self._receiver.timers.after(BUSY_SECONDS, self)
        elif limit and self._idle() >= limit:
            self._stop("4.4.2", "Timeout; closing")
        else:
            self._arm()

    def _log(self, session: _native.Session) -> None:
        receiver = self._receiver
        replies = session.replies
        for digit, metric in REPLIES:
            if replies[digit]:
                receiver.metrics.add(metric, replies[digit])
        if session.delays_spent:
            receiver.metrics.add(TARPIT_SESSION_LIMIT)
        duration = clock.monotonic() - self._started
        self._record.write(session, session_id=self.session_id, client=self.peer, duration=duration)


if TYPE_CHECKING:

    def _is_session_view(connection: Connection) -> SessionView:
        return connection
