"""Notify systemd of the state of the service (sd_notify, Type=notify); without systemd this does nothing.

Never fails: a notification that is lost does not stop a mail server.
"""

from __future__ import annotations

import os
import socket  # noqa: TID251 - systemd's socket, not a peer's
from contextlib import suppress


class Notifier:
    """Speaks to the socket that systemd named when it started us."""

    __slots__ = ("_address",)

    def __init__(self) -> None:
        # systemd's protocol, not a setting of ours; taken out, so that no process of ours believes it speaks for the service.
        name = os.environ.pop("NOTIFY_SOCKET", "")  # noqa: TID251
        self._address = f"\0{name[1:]}" if name.startswith("@") else name

    def __call__(self, *lines: str) -> None:
        """Send assignments such as READY=1 as one message."""
        if self._address:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
                to.setblocking(False)
                to.sendto("\n".join(lines).encode(), self._address)
