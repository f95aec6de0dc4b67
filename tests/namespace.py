"""A network namespace for one test: nothing that starts in it can reach any other network, for there is only its loopback interface.

For programs that use the system's resolver, or would deliver what they should not. The test's thread is in it too.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from contextlib import contextmanager
from pathlib import Path

from tests.needs import missing

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
LIBC = ctypes.CDLL(None, use_errno=True)


def call(function, *arguments) -> None:
    if function(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def alone():
    """In here there is no network but 127.0.0.0/8 and ::1."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            call(LIBC.unshare, CLONE_NEWNET)
        except PermissionError:
            missing("run as root, who may make a network namespace")
        try:
            with socket.socket() as any_socket:
                fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
            assert [path.name for path in Path("/proc/thread-self/net/dev_snmp6").glob("*")] == ["lo"]
            yield
        finally:
            call(LIBC.setns, before, CLONE_NEWNET)
    finally:
        os.close(before)
