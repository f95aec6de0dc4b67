"""Dovecot's authentication service as a backend: whatever it checks passwords with (PAM, LDAP, SQL, files) and its mechanisms.

It is offered over TLS only. What Dovecot answers is passed on; that a name exists is not in the answers of Dovecot and is not added
here. Without a connection authentication is a temporary failure; a lost one is made anew, at once when a client authenticates and
otherwise within a second. The mechanisms of the last connection stay offered meanwhile.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from mailmoat import maillog
from mailmoat.auth import dovecot_wire as wire
from mailmoat.auth.authenticator import Cause, Challenge, Failure, Identity, Success
from mailmoat.auth.dovecot_connection import ANOTHER_PROTOCOL, DovecotConnection, FullError, LostError
from mailmoat.auth.dovecot_wire import Accepted, Continued, Refused
from mailmoat.events import Event

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from mailmoat.auth.authenticator import Answer, Channel
    from mailmoat.auth.dovecot_wire import Reply
    from mailmoat.settings.sections.auth import AuthSettings

_CAUSES: Final = {
    "temp_fail": Cause.UNAVAILABLE,
    "temp": Cause.UNAVAILABLE,
    "authz_fail": Cause.REFUSED,
    "authz": Cause.REFUSED,
    "pass_expired": Cause.REFUSED,
    "invalid_base64": Cause.MALFORMED,
}
"""By Dovecot's code. `user_disabled` may come without the right password, so it is what a wrong one is."""


class DovecotAuthenticator:
    """The service at the socket `path`."""

    def __init__(self, path: Path, settings: AuthSettings) -> None:
        self._path = path
        self._allowed = settings.mechanisms
        self._may_relay = settings.relay
        self._connection: DovecotConnection | None = None
        self._connecting: asyncio.Task[DovecotConnection] | None = None
        self._known: tuple[str, ...] = ()
        self._problem = ""
        self._closed = False

    @property
    def usable(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    def mechanisms(self, channel: Channel) -> tuple[str, ...]:
        """Return the mechanisms to offer on this channel, the strongest first."""
        return (
            tuple(name for name in self._known if not self._allowed or name in self._allowed) if channel.secured else ()
        )

    def begin(self, mechanism: str, channel: Channel) -> DovecotExchange | None:
        """Begin an exchange; None for a mechanism that is not offered on this channel."""
        return DovecotExchange(self, mechanism, channel) if mechanism in self.mechanisms(channel) else None

    async def start(self) -> None:
        """Connect."""
        with suppress(LostError):
            await self.connection()

    def tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Connect if there is no connection."""
        if self._connection is None and self._connecting is None and not self._closed:
            self._connect(loop)

    async def reread(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do nothing: the accounts are Dovecot's."""

    def close(self) -> None:
        """Let go of the connection."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()

    async def connection(self) -> DovecotConnection:
        """Return the connection, made anew if need be; LostError if that fails."""
        if self._connection is None:
            if self._closed:
                raise LostError
            task = self._connecting or self._connect(asyncio.get_running_loop())
            try:
                return await asyncio.shield(task)
            except (OSError, TimeoutError):
                raise LostError from None
        return self._connection

    def answer(self, reply: Reply, mechanism: str) -> Answer:
        """Return what a reply of Dovecot means."""
        match reply:
            case Continued(challenge=challenge):
                return Challenge(challenge)
            case Refused(name=name, code=code):
                return Failure(_CAUSES.get(code, Cause.CREDENTIALS), name)
            case Accepted(name=name, denied=denied) if denied or not name or not name.isprintable() or "\ufffd" in name:
                return Failure(Cause.REFUSED, name)
            case Accepted(name=name):
                return Success(Identity(name, mechanism, self._may_relay))

    def _connect(self, loop: asyncio.AbstractEventLoop) -> asyncio.Task[DovecotConnection]:
        self._connecting = loop.create_task(self._make())
        self._connecting.add_done_callback(_seen)
        return self._connecting

    async def _make(self) -> DovecotConnection:
        try:
            made = await DovecotConnection.make(self._path, self._lost)
        except (OSError, TimeoutError, LostError) as error:
            self._note(_why(error))
            raise
        finally:
            self._connecting = None
        if self._closed:
            made.close()
            raise LostError
        self._connection, self._known, self._problem = made, made.mechanisms, ""
        maillog.event(Event.AUTH_SERVICE_READY, path=str(self._path), mechanisms=list(made.mechanisms))
        return made

    def _lost(self, connection: DovecotConnection) -> None:
        if connection is self._connection:
            self._connection = None
            if not self._closed:
                self._note(connection.end)

    def _note(self, problem: str) -> None:
        if problem != self._problem:
            maillog.event(Event.AUTH_SERVICE_LOST, path=str(self._path), detail=problem)
        self._problem = problem


class DovecotExchange:
    """One exchange: a request of a connection, begun with the first response."""

    def __init__(self, service: DovecotAuthenticator, mechanism: str, channel: Channel) -> None:
        self._service = service
        self._mechanism = mechanism
        self._channel = channel
        self._connection: DovecotConnection | None = None
        self._number = 0

    def __del__(self) -> None:
        if self._connection is not None:
            self._connection.cancel(self._number)

    def respond(self, response: bytes | None) -> Awaitable[Answer]:
        """Take what the client said; None at the beginning when it said nothing yet."""
        return self._respond(response)

    async def _respond(self, response: bytes | None) -> Answer:
        connection, self._connection = self._connection, None
        try:
            if connection is None:
                connection = await self._service.connection()
                self._number = connection.next_number()
                line = wire.auth(self._number, self._mechanism, self._channel, response)
            else:
                line = wire.continuation(self._number, response or b"")
            if len(line) > wire.LONGEST_REQUEST:
                return Failure(Cause.MALFORMED)
            reply = await connection.ask(self._number, line)
        except LostError:
            return Failure(Cause.UNAVAILABLE)
        except FullError:
            return Failure(Cause.BUSY)
        if isinstance(reply, Continued):
            self._connection = connection
        return self._service.answer(reply, self._mechanism)


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer"
    return (error.strerror or "it cannot be reached") if isinstance(error, OSError) else ANOTHER_PROTOCOL


def _seen(task: asyncio.Task[DovecotConnection]) -> None:
    """Take the exception of a task that nobody awaits."""
    with suppress(asyncio.CancelledError):
        task.exception()
