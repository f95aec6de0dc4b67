"""One forked process: its start, its messages to its parent, its end.

`start` forks from a single-threaded parent. The child has default signals, dies with its parent (it gets SIGTERM), and never returns
into the parent's code: it does its work and leaves by `os._exit`, with 1 after an exception, which is logged and reported. The
parent reads what the child reports from a pipe. Python seeds `random` anew in every child by itself. May fail: OSError from fork.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from mailmoat import maillog
from mailmoat.events import Event
from mailmoat.supervisor import privileges, signals

if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_PDEATHSIG: Final = 1


class Report:
    """The child's end of the pipe: one report, and then it is closed."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self, text: str) -> None:
        """Say it; what is said later, or when the parent is gone, is lost."""
        with suppress(OSError):
            rest = text.encode() if self._descriptor >= 0 else b""
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Process:
    """The parent's view: `descriptor` becomes readable when the child reports, and -1 when its report is over."""

    __slots__ = ("_received", "descriptor", "pid")

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid, self.descriptor = pid, descriptor
        self._received = b""

    def listen(self) -> None:
        """Take what was reported; never waits."""
        with suppress(BlockingIOError):
            while self.descriptor >= 0:
                octets = os.read(self.descriptor, 65536)
                self._received += octets
                if not octets:
                    self.close()

    def close(self) -> None:
        """Listen no longer."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    @property
    def report(self) -> str:
        """The whole report; empty as long as it is not over."""
        return "" if self.descriptor >= 0 else self._received.decode(errors="replace")


def start(name: str, detach: Callable[[], None], work: Callable[[Report], None]) -> Process:
    """Fork; the child calls `detach`, which closes what is not its own, and `work`."""
    parent = os.getpid()
    read, write = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(read, False)
    _flush()
    # A signal that came before the child has reset its own would go into the parent's pipe.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals.WATCHED)
    try:
        pid = os.fork()
    except OSError:
        os.close(read)
        os.close(write)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.WATCHED)
        raise
    if pid == 0:
        _live(name, parent, detach, work, Report(write))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.WATCHED)
    os.close(write)
    return Process(pid, read)


def _live(
    name: str, parent: int, detach: Callable[[], None], work: Callable[[Report], None], report: Report
) -> NoReturn:
    status = 1
    try:
        _init_child(parent)
        detach()
        work(report)
        status = 0
    except SystemExit as leave:
        status = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except BaseException as error:  # noqa: BLE001 - nothing may reach the parent's frames below us
        with suppress(Exception):
            maillog.event(Event.PROCESS_FAILED, process=name, pid=os.getpid(), error=traceback.format_exc())
        report(f"failed: {type(error).__name__}: {error}")
    finally:
        with suppress(Exception):
            _flush()
        os._exit(status)


def _init_child(parent: int) -> None:
    """Become a process of its own: signals, and the wish not to outlive the parent."""
    signal.set_wakeup_fd(-1)
    # A terminal sends these to all of us; what they mean is the supervisor's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    privileges.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit(0)  # it died before we asked
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.WATCHED)


def _flush() -> None:
    """Write out what is buffered, or parent and child would both do it."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
