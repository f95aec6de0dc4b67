"""A generation: one tree of settings and all that serves it: listening sockets, its processes, the recipient snapshot, certificates.

The supervisor has one generation in force and, while it reloads, a second one beside it, which either takes over completely or is discarded.
Sockets of addresses that both name are shared. `make` may fail: ConfigError, with one sentence for each address it could not
bind or certificate it could not read, or where the next hop is one of its addresses; nothing of it is left behind then.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from mailmoat import clock, maillog
from mailmoat.errors import ConfigError
from mailmoat.events import Event
from mailmoat.reports import languages
from mailmoat.settings import notation
from mailmoat.settings.listener import parse_listener
from mailmoat.supervisor import own_address, preflight, sockets
from mailmoat.supervisor.backoff import Backoff
from mailmoat.supervisor.refreshes import Refreshes
from mailmoat.supervisor.sockets import ListenAddress
from mailmoat.tls import certificates
from mailmoat.tls.ticket_secret import TicketSecret

if TYPE_CHECKING:
    import socket  # noqa: TID251 - a type; supervisor/sockets.py binds
    from collections.abc import Iterator

    from mailmoat.settings import Listener, NextHop, Settings
    from mailmoat.supervisor.privileges import Account
    from mailmoat.tls.certificates import Certificates


FIXES = {
    errno.EACCES: "a port below 1024 needs a start as root, or CAP_NET_BIND_SERVICE",
    errno.EADDRINUSE: "stop the program that listens there, or name another port",
    errno.EADDRNOTAVAIL: "name an address of this machine",
}
"""What an operator does about an address that cannot be bound."""


@dataclass(slots=True, eq=False)
class ChildSpec:
    """One process that must run at all times: worker `number`, the admin process or the directory process."""

    kind: Literal["worker", "admin", "directory"]
    number: int
    listeners: tuple[tuple[socket.socket, Listener], ...]
    """What its process accepts from."""
    pid: int = 0
    """Of the process that runs; 0 while there is none."""
    retry_at: float = 0.0
    """When the next one may be started, in monotonic seconds."""
    backoff: Backoff = field(default_factory=Backoff)

    def __str__(self) -> str:
        return f"worker {self.number}" if self.kind == "worker" else self.kind


@dataclass(slots=True, eq=False)
class Generation:
    """What is served and by how many."""

    number: int
    settings: Settings
    workers: int
    ticket_secret: TicketSecret
    """Shared with the generation before, so that its tickets stay good."""
    new_next_hop: bool = False
    """The generation before had another next hop, by which all that waits was deferred."""
    addresses: dict[Listener, ListenAddress] = field(default_factory=dict)
    admin: ListenAddress | None = None
    specs: list[ChildSpec] = field(default_factory=list)
    refreshes: Refreshes = field(kw_only=True)
    """The files that are compiled for its workers."""
    certificates: Certificates | None = None
    _bound: list[ListenAddress] = field(default_factory=list)
    _opened: list[socket.socket] = field(default_factory=list)
    _served: set[int] = field(default_factory=set)
    """Ports that are ours already."""

    def held(self) -> Iterator[ListenAddress]:
        """Give every address it serves."""
        yield from self.addresses.values()
        if self.admin is not None:
            yield self.admin

    def close(self) -> None:
        """Close what this process holds of it: nobody new is served."""
        for address in self.held():
            address.close()
        self.refreshes.close()

    def discard(self) -> None:
        """Undo what making it did to sockets; those of the generation in force stay as they were."""
        bound = {listener for address in self._bound for listener in address.sockets}
        sockets.silence(opened for opened in self._opened if opened not in bound)
        for address in self._bound:
            address.close()
        self.refreshes.close()

    def retire(self, successor: Generation) -> None:
        """Close what the generation that took over does not need."""
        needed = set(successor.held())
        for address in self.held():
            if address not in needed:
                address.close()
        self.refreshes.close()

    def load(self, account: Account | None) -> list[str]:
        """Read the certificates with the rights of `account`; return one sentence for each that cannot be used."""
        try:
            with preflight.acting_as(account):
                self.certificates = certificates.load(self.settings)
        except ConfigError as error:
            return error.mistakes
        return []

    def bind(self, before: Generation | None, most: int, owner: int | None) -> list[str]:
        """Bind, or take over, every address; return one sentence for each that cannot be had."""
        mistakes: list[str] = []
        self._served = {address.port for address in before.held()} if before else set()
        known = {(entry.host, entry.port): address for entry, address in before.addresses.items()} if before else {}
        for listener in self.settings.listen:
            address = known.get((listener.host, listener.port)) or self._bind("listen", listener, most, owner, mistakes)
            if address is not None:
                self.addresses[listener] = address
                self._opened += address.listen(self.workers)
        written = self.settings.admin.listen
        if written:
            same = before is not None and before.settings.admin.listen == written
            listener = parse_listener(written)
            self.admin = before.admin if before and same else self._bind("admin.listen", listener, 1, owner, mistakes)
            self._opened += self.admin.listen(1) if self.admin else []
        if not self.addresses and not mistakes:
            mistakes.append("listen: no address is left to listen on")
        return mistakes

    def assign(self) -> None:
        """Give each process its sockets."""
        for number in range(self.workers):
            addresses = self.addresses.items()
            served = (
                (own, listener) for listener, address in addresses for own in address.of_worker(number, self.workers)
            )
            self.specs.append(ChildSpec("worker", number, tuple(served)))
        if self.admin is not None:
            self.specs.append(
                ChildSpec("admin", 0, ((self.admin.sockets[0], parse_listener(self.settings.admin.listen)),))
            )
        if self.settings.directories:
            self.specs.append(ChildSpec("directory", 0, ()))

    def _bind(
        self, key: str, listener: Listener, workers: int, owner: int | None, mistakes: list[str]
    ) -> ListenAddress | None:
        """Bind one address; a port that is ours already may be shared, with nobody else."""
        try:
            if listener.port not in self._served:
                sockets.check_free(listener.host, listener.port)
            address = ListenAddress(listener.host, listener.port, workers, owner)
        except OSError as error:
            if listener.host == "::" and sockets.unavailable(error):
                maillog.event(Event.LISTEN_SKIPPED, address=str(listener), detail="no IPv6 on this machine")
                return None
            fix = FIXES.get(error.errno or 0, "name another address")
            mistakes.append(f"{key} = {listener}: cannot listen there: {error.strerror}; {fix}")
            return None
        self._bound.append(address)
        self._served.add(address.port)
        return address


def make(number: int, settings: Settings, before: Generation | None, most: int, account: Account | None) -> Generation:
    """Make the generation for these settings, with at most `most` workers, beside the generation in force, for the account to run as."""
    workers = settings.worker_count
    if workers > most:
        maillog.event(Event.WORKERS_CAPPED, wanted=workers, workers=most, detail="more need a restart")
    new_next_hop = before is not None and _next_hops(before.settings) != _next_hops(settings)
    generation = Generation(
        number,
        settings,
        min(workers, most),
        _ticket_secret(settings, before),
        new_next_hop,
        refreshes=Refreshes(settings),
    )
    mistakes = _changed_agents(settings, before) or own_address.loops(settings) or generation.load(account)
    mistakes = (
        mistakes or _unusable_files(settings, before) or generation.bind(before, most, account.uid if account else None)
    )
    if mistakes:
        generation.discard()
        raise ConfigError(mistakes)
    generation.assign()
    return generation


def _next_hops(settings: Settings) -> list[tuple[tuple[str, ...], NextHop | None]]:
    """Return where mail goes, by domains, in the order of the routes."""
    return [*((row.domains, row.next_hop) for row in settings.routes), ((), settings.delivery.next_hop)]


def _ticket_secret(settings: Settings, before: Generation | None) -> TicketSecret:
    """Return the secret of the generation before; another one when there is none or its epochs have another length."""
    rotation = int(settings.tls.ticket_rotation)
    if before is not None and before.ticket_secret.rotation == rotation:
        return before.ticket_secret
    return TicketSecret(rotation, clock.wall_ms() // 1000)


def _unusable_files(settings: Settings, before: Generation | None) -> list[str]:
    """Return what is wrong with the files of new settings; at the start they have been checked, with the rights of the account."""
    return [] if before is None else [*preflight.unusable_files(settings), *languages.unusable(settings)]


def _changed_agents(settings: Settings, before: Generation | None) -> list[str]:
    """Return what is wrong with another list of agents: their code and their metrics are in the memory of before the first fork."""
    if before is None or before.settings.policy.agents == settings.policy.agents:
        return []
    agents = notation.show(settings.policy.agents)
    return [f"policy.agents = {agents}: it changes at a restart only; restart the server, or put the old list back"]


def keep_until_restart(old: Settings, new: Settings) -> tuple[Settings, tuple[str, ...]]:
    """Give the new settings with the old values of what only a restart can change, and the keys where they differ; log these."""
    at_restart = {"user": old.user, "spool_dir": old.spool_dir}
    kept = tuple(key for key, value in at_restart.items() if getattr(new, key) != value)
    for key in kept:
        value = notation.show(at_restart[key])
        maillog.event(Event.SETTING_KEPT, key=key, value=value, detail="it changes at a restart only")
    return new.model_copy(update=at_restart), kept
