"""What the supervisor passes to the processes it starts.

Made in the new process itself, after the fork. Whatever is
not named here (other processes' sockets, the supervisor's pipes) has been closed in that process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import socket  # noqa: TID251 - a type; supervisor/sockets.py binds
    from collections.abc import Callable, Collection
    from pathlib import Path

    from mailmoat._native import Shared
    from mailmoat.settings import Listener, Settings
    from mailmoat.tls.certificates import Certificates
    from mailmoat.tls.ticket_secret import TicketSecret


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """One worker's world. A worker serves until SIGTERM or the end of the lifeline, then drains and returns."""

    slot: int
    """Its row in the shared region and its eventfd in `evict`: of all living workers, draining ones too, no other has it."""
    generation: int
    """0 at start; every reload that is tried counts one."""
    settings: Settings
    listeners: tuple[tuple[socket.socket, Listener], ...]
    """Non-blocking, listening already, with what is said of each address; for a while another worker may accept from them, too.
    An address may come twice. A server that calls listen() again must pass `acceptor.BACKLOG`."""
    shared: Shared
    lifeline: int
    """A pipe nobody writes to: readable means end of file, the supervisor is dead."""
    ready: Callable[[], None]
    """To be called once, when connections are accepted."""
    evict: tuple[int, ...]
    """One non-blocking eventfd per slot: an addition asks the worker of that slot to evict its longest-held session."""
    certificates: Certificates | None
    """As read before the fork; None when TLS is not used."""
    ticket_secret: TicketSecret
    """That of the epoch of the fork."""
    new_next_hop: bool = False
    """What waits in the spool was deferred by another next hop: it is tried at once."""


class AdminProcess(Protocol):
    """What the admin process does: it serves until SIGTERM or the end of the lifeline, and ends within five seconds."""

    def __call__(
        self,
        listener: socket.socket,
        shared: Shared,
        *,
        ready: Callable[[], None],
        lifeline: int,
        hosts: Collection[str],
        sources: Path | None,
    ) -> None:
        """Serve those who ask for one of `hosts`; call `ready` once. `sources` is the file that says how fresh the sources of recipients are."""


class DirectoryProcess(Protocol):
    """What the directory process does: it reads sources until SIGTERM or the end of the lifeline, and ends within five seconds."""

    def __call__(self, settings: Settings, *, ready: Callable[[], None], lifeline: int, changed: int) -> None:
        """Read the sources of these settings; call `ready` once, and add to the eventfd `changed` when a table changed."""


class Programs(NamedTuple):
    """What the forked processes do."""

    worker: Callable[[WorkerContext], None]
    admin: AdminProcess
    directory: DirectoryProcess
