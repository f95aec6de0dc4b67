"""The name servers of the system: resolv.conf(5), read again when it changes, as a new network or a container's start writes it.

A file that cannot be read or names no server changes nothing: it may be half written, and the previous servers may still answer.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from mailmoat import clock, maillog
from mailmoat.events import Event
from mailmoat.net.endpoint import Endpoint
from mailmoat.settings.sections.dns import PORT, name_server

RESOLV_CONF: Final = Path("/etc/resolv.conf")
LOOK: Final = 1.0
"""Seconds between two looks at whether it changed."""


def named_in(path: Path) -> tuple[Endpoint, ...]:
    """Return the servers of the file; OSError: it cannot be read."""
    servers = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        match line.split():
            case ["nameserver", address, *_]:
                try:
                    servers.append(name_server(address))
                except ValueError:
                    continue
    return tuple(servers)


class ResolvConf:
    """The file and the servers it last named; this machine before it named any, as the C library has it."""

    def __init__(self, path: Path = RESOLV_CONF) -> None:
        self._path = path
        self._seen = self._state()
        self._next_look = clock.monotonic() + LOOK
        self.servers: tuple[Endpoint, ...] = (Endpoint("127.0.0.1", PORT),)
        with contextlib.suppress(OSError):
            self.servers = named_in(path) or self.servers

    def changed(self) -> bool:
        """Return whether `servers` have changed. Looks once a second at most."""
        now = clock.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + LOOK
        seen, self._seen = self._seen, self._state()
        return self._seen != seen and self._read()

    def _state(self) -> tuple[int, int, int] | None:
        """Return a value that differs after each change; None if there is no file."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _read(self) -> bool:
        try:
            servers, reason = named_in(self._path), "it names no server"
        except OSError as error:
            servers, reason = (), error.strerror or str(error)
        if not servers:
            kept = [str(server) for server in self.servers]
            maillog.event(Event.NAME_SERVERS_KEPT, file=str(self._path), detail=reason, servers=kept)
        elif servers != self.servers:
            self.servers = servers
            maillog.event(Event.NAME_SERVERS_CHANGED, file=str(self._path), servers=[str(server) for server in servers])
            return True
        return False
