"""The driver of a session: its life from the greeting to the end, and its time limits.

Promises: a session ends when its client is silent, or the session is open, for too long; a handshake has its own time; a hold is a
place that is taken for all of its time, also when the client is gone. What follows from a step is in steps.py (RFC 5321 4.5.3.2).
"""

from __future__ import annotations

from functools import partial

from mailmoat._native import End
from mailmoat.limits.limiter import Limit
from mailmoat.receive import conduct, early_talkers
from mailmoat.receive.intake import CLOGGED
from mailmoat.receive.steps import Steps
from mailmoat.receive.timeouts import BUSY


class Driver(Steps):
    """One session from its greeting to its end."""

    __slots__ = ()

    def begin(self, *, early: bool) -> None:
        """Greet the client, or refuse it; `early`: it has talked already."""
        admission = self._receiver.limiter.admit(self.view.client.address, limited=self.view.client.trust.judged)
        self._source = admission.source
        self._watch.arm(self)
        if admission.refused:
            self.stop(End.TOO_MANY_CONNECTIONS, "", admission.text)  # a greeting has no such code (RFC 2034 4)
        elif self._receiver.turns_away(self.view.client):
            self.stop(End.PRESSURE, "", Limit.PRESSURE.text)
        elif self.view.client.listener.implicit_tls:
            self.run(self._start_tls)
        elif early and self._receiver.early_talkers.refuses(self.view.client, self.view.session_id):
            self.stop(End.REFUSED, "", early_talkers.TEXT)
        else:
            self.run(self._greet)

    def receive(self, octets: bytes | memoryview) -> None:
        """Take what the client has sent; what ends no command is no sign of work (`Steps._await_input`)."""
        self.run(self.session.receive, octets)

    def proceed(self) -> None:
        """Go on with what the session has kept of it."""
        self._watch.touch()
        self.run(self.session.proceed)

    def input_ended(self) -> None:
        """Answer what the client has sent before it closed its sending side; without that no handshake comes to its end."""
        if self._handshaking:
            self._wire.abort()
        else:
            self.run(self.session.proceed)

    def wait_for_room(self) -> None:
        """Count a client that does not read its replies as idle, unless a reply is pending or it sends content."""
        if not (self.session.is_pending or self.session.in_content):
            self._receiver.stress.waits(self, in_transaction=self.session.in_transaction)

    def lost(self) -> None:
        """Free everything except the place of a hold after the connection is closed, and log the session."""
        receiver, hold = self._receiver, self._hold
        if self._asked is not None:
            self._asked.cancel()
            self._asked = None
        self._log.write(self.session, self.view, self._watch.age, receiver.metrics)
        if receiver.reputation is not None:
            conduct.ended(receiver.reputation, self.view.client, self.session)
        if receiver.asks_disconnect:
            receiver.pipeline.disconnected(self.view)
        receiver.stress.leaves(self)
        self._leave_handshake()
        if self.view.client.tls is not None:
            receiver.guessers.left(self.view.client, self.session.messages)
        if hold is None:
            self._watch.cancel()
            receiver.give_back(self._source)
        else:
            self._hold = None
            hold.abandoned(partial(receiver.give_back, self._source))

    def due(self) -> None:
        """Handle a deadline: a hold is over, or a timeout may have passed."""
        if self._wire.is_closing:
            self._leave_hold()
        elif self._handshaking:
            self._give_up_handshake()
        elif self._hold is not None and not self._watch.lasted:
            self._leave_hold()
            self._watch.touch()
            self._watch.arm(self)
            self.run(self.session.release)
        else:
            self._look_for_silence()

    def evict(self) -> None:
        """Close this session, held longest of too many."""
        self.stop(End.EVICTED, "4.7.0", "Too many sessions are held; closing")

    def make_way(self) -> None:
        """Close this idle connection because there are nearly too many."""
        self.stop(End.IDLE_CLOSED, "4.3.2", "Too many connections; closing idle ones")
        if self._wire.intake.stops_for(CLOGGED):
            self._wire.abort()  # it takes no reply, and would keep its place until that is plain

    def make_way_if_slow(self, window: float) -> None:
        """Close a connection whose content has come too slowly for so many seconds, because there are nearly too many."""
        if self._sends_slowly(window) and not self.session.is_pending:
            self.make_way()

    def drain(self, *, at_once: bool) -> None:
        """Send 421 because the worker ends: between transactions, or `at_once` at any point."""
        session = self.session
        needed = session.in_transaction or (session.is_pending and not self._handshaking)
        if at_once or not (needed or self._watch.idle < 1):
            self.stop(End.SHUTDOWN, "4.3.2", "Service shutting down; try again later")

    def _sends_slowly(self, window: float | None = None) -> bool:
        session = self.session
        return session.in_content and self._watch.slow(session.transactions, session.content_octets, window)

    def _look_for_silence(self) -> None:
        session = self.session
        if self._watch.lasted and (self._hold is not None or not session.is_pending):
            self.stop(End.SESSION_TIME, "4.4.2", "Session lasted too long; closing")
        elif self._asked is not None and self._asked.cancelling() and self._watch.silent(in_content=False):
            self._failed(TimeoutError("an agent goes on though it is cancelled"))
        elif session.is_pending:
            self._watch.wake_after(BUSY, self)
        elif self._watch.silent(in_content=session.in_content):
            self.stop(End.TIMEOUT, "4.4.2", "Timeout; closing")
        elif self._sends_slowly():
            self.stop(End.TIMEOUT, "4.4.2", "Content comes too slowly; closing")
        else:
            self._watch.arm(self)
