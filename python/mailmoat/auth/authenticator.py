"""What the driver of a session asks of a backend that authenticates clients (RFC 4954, RFC 4422).

An exchange belongs to one AUTH command. It gets what the client says, decoded, and answers with a challenge, success or failure, at
once or by an awaitable. Promises: an unknown name and a wrong password have the same answer after the same time; no secret is in the
repr of a value; nothing is raised for what a client sends. A backend that cannot decide now is a temporary failure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable


@dataclass(frozen=True, slots=True)
class Channel:
    """What a mechanism may know of the connection."""

    client: str
    """Address of the client, in text form without port."""
    server: str
    """Address of ours that it connected to."""
    secured: bool
    """TLS is on: mechanisms that show the password may be used."""
    exporter: bytes = field(default=b"", repr=False)
    """`tls-exporter` (RFC 9266); empty before TLS 1.3."""
    end_point: bytes = field(default=b"", repr=False)
    """`tls-server-end-point` (RFC 5929 4); empty without TLS."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client is."""

    name: str
    """Of the account, as the backend writes it."""
    mechanism: str
    """By which it has authenticated: a SASL mechanism, or EXTERNAL for a client certificate."""
    may_relay: bool = True
    """It may send to any domain."""


class Cause(StrEnum):
    """Why a client is not authenticated. The value is the label in the metrics and the reason in the log."""

    CREDENTIALS = "credentials"
    """Unknown name or wrong password: nothing tells which."""
    MALFORMED = "malformed"
    """What the client sent is not what the mechanism asks for."""
    CHANNEL = "channel-binding"
    """The client saw another TLS connection."""
    REFUSED = "refused"
    """The backend refuses this account, here or now."""
    BUSY = "busy"
    """Too many exchanges wait for their turn; temporary."""
    UNAVAILABLE = "unavailable"
    """The backend does not answer; temporary."""
    TOO_MANY = "too-many-failures"
    """Too many failures of its source lately: nobody was asked; temporary."""

    @property
    def temporary(self) -> bool:
        """Whether the client may try again with the same secret."""
        return self in {Cause.BUSY, Cause.UNAVAILABLE, Cause.TOO_MANY}


@dataclass(frozen=True, slots=True)
class Challenge:
    """What the client is to answer next; may be empty."""

    octets: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Success:
    """The client is this account."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class Failure:
    """The client is nobody."""

    cause: Cause
    name: str = ""
    """The name it gave, for the log; empty when it could not be read."""
    wait: float = 0.0
    """Seconds until it is asked again, where that is known."""


Answer = Challenge | Success | Failure


class Exchange(Protocol):
    """One SASL exchange."""

    def respond(self, response: bytes | None) -> Answer | Awaitable[Answer]:
        """Take what the client said; None at the beginning when it said nothing yet."""


class Authenticator(Protocol):
    """A backend, or several of them as one."""

    def mechanisms(self, channel: Channel) -> tuple[str, ...]:
        """Return the mechanisms to offer on this channel, the strongest first."""

    def begin(self, mechanism: str, channel: Channel) -> Exchange | None:
        """Begin an exchange; None for a mechanism that is not offered on this channel."""


class Backend(Authenticator, Protocol):
    """An authenticator with what a worker does for it."""

    @property
    def usable(self) -> bool:
        """Whether clients can authenticate now."""

    async def start(self) -> None:
        """Get ready, within a few seconds; where that fails, `tick` tries again. Never raises."""

    def tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do what is due; to be called once a second. Never waits."""

    async def reread(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read at once what it keeps of files, as a reload asks. Never raises."""

    def close(self) -> None:
        """Take no more, without waiting; exchanges that begin now fail as temporary."""
