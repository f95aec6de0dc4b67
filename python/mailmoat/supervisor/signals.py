"""Signals as octets on a pipe, so that one `poll` waits for them and for everything else.

Only the supervisor uses it. A signal that comes between two waits is not lost: its octet stays in the pipe. SIGHUP that came while
the program was being loaded is not lost either: `keep_for_later` is called first of all.
"""

from __future__ import annotations

import os
import signal
from typing import Final

WATCHED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

IGNORED: Final = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO)
"""They mean nothing to us, and would end the process: other servers open their log anew at SIGUSR1. Children inherit that."""


def keep_for_later() -> None:
    """Let SIGHUP wait until there is a `SignalPipe`: before that it would end the process, as signals without a meaning do."""
    _ignore()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def _ignore() -> None:
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)


class SignalPipe:
    """From its making on, the watched signals do nothing but make `descriptor` readable."""

    __slots__ = ("_write", "descriptor")

    def __init__(self) -> None:
        self.descriptor, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in WATCHED:
            signal.signal(number, lambda _number, _frame: None)
        _ignore()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)

    def received(self) -> bytes:
        """Take the numbers of the signals since the last call, in order; never waits."""
        try:
            return os.read(self.descriptor, 4096)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Close both ends, in a new process that has reset its signals."""
        os.close(self.descriptor)
        os.close(self._write)
