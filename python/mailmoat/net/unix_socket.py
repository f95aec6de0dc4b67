"""Unix sockets that are for one account and root alone, at paths of any length.

Raises OSError, as the system has it.
"""

from __future__ import annotations

import os
import socket  # noqa: TID251 - the listening sockets of commands and workers
import struct
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_CREDENTIALS: Final = struct.Struct("3i")


def listen(path: Path, backlog: int) -> socket.socket:
    """Return a listening socket at a path, not blocking. A socket that is left from before is replaced."""
    with short_path(path) as short:
        Path(short).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(short)
            Path(short).chmod(0o600)  # the directory is for the account alone, too
            listener.listen(backlog)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        return listener


def account_of(connected: socket.socket) -> int:
    """Return the number of the account that made a connection."""
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1])


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Give another path of a socket, which is short however long its own is: an address of a socket has little room. OSError: its directory cannot be opened."""
    descriptor = os.open(path.parent, os.O_PATH)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
