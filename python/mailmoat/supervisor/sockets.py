"""Listening sockets: bound before the first fork and kept, so that the end of a worker loses no queued connection.

`ListenAddress` binds one SO_REUSEPORT socket for every worker that can ever be: the kernel then spreads connections over those that
listen (one shared socket sends all slow arrivals to one worker: measured), and a reload may add workers on a privileged port after
root was dropped. A listening socket is never closed while its address is in force: when there are fewer workers, those that
stay serve it as well. May fail: OSError from binding.
"""

from __future__ import annotations

import errno
import os
import select
import socket  # noqa: TID251 - this file binds the listening sockets
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat.receive.acceptor import BACKLOG

if TYPE_CHECKING:
    from collections.abc import Iterable

GRACE: Final = 1.0
"""Seconds that workers of a supervisor that was killed have to stop listening, when a new one starts at once."""


class ListenAddress:
    """One address and port: a bound socket for each of `most` workers, none of which listens yet."""

    __slots__ = ("sockets",)

    def __init__(self, host: str, port: int, most: int, owner: int | None) -> None:
        """Bind; `owner` is the uid that will own the sockets (None: ours). Port 0 takes a free one, the same for all."""
        self.sockets: list[socket.socket] = []
        try:
            for _ in range(most):
                self.sockets.append(_bind(host, port, owner))
                port = port or self.sockets[0].getsockname()[1]
        except OSError:
            self.close()
            raise

    @property
    def port(self) -> int:
        """The port that is bound."""
        port: int = self.sockets[0].getsockname()[1]
        return port

    def listen(self, workers: int) -> list[socket.socket]:
        """Let the sockets of the first `workers` workers listen; those that did not before are returned."""
        opened = [listener for listener in self.sockets[:workers] if not _listens(listener)]
        for listener in opened:
            listener.listen(BACKLOG)
        return opened

    def of_worker(self, number: int, workers: int) -> list[socket.socket]:
        """Give the sockets that this one of `workers` serves: its own, and its share of those that no worker has any more."""
        return [listener for listener in self.sockets[number::workers] if _listens(listener)]

    def close(self) -> None:
        """Close what this process holds of it."""
        for listener in self.sockets:
            listener.close()


def silence(listeners: Iterable[socket.socket]) -> None:
    """Stop listening but stay bound: for sockets of a generation that was given up."""
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)


def check_free(host: str, port: int) -> None:
    """Raise OSError if another socket listens there.

    SO_REUSEPORT, which lets our own sockets share the port, would share it with another server of the same account as well, and
    each would get half of the connections.
    """
    deadline = clock.monotonic() + GRACE
    while True:
        try:
            with _socket(host) as probe:
                probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or clock.monotonic() >= deadline:
                raise
            select.poll().poll(50)
        else:
            return


def is_available(host: str) -> bool:
    """Return whether the machine has this address, to a socket of any port."""
    try:
        with _socket(host) as probe:
            probe.bind((host, 0))
    except OSError as error:
        return not unavailable(error)
    return True


def unavailable(error: OSError) -> bool:
    """Return whether the machine does not have this kind of address, for example IPv6 turned off."""
    return error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def _bind(host: str, port: int, owner: int | None) -> socket.socket:
    listener = _socket(host)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if owner is not None:
            # The kernel lets sockets share a port when one uid owns them all. With this, those bound as root and those bound later
            # without, before and after a restart, go together.
            os.fchown(listener.fileno(), owner, -1)
        listener.setblocking(False)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def _socket(host: str) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return made


def _listens(listener: socket.socket) -> bool:
    return bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
