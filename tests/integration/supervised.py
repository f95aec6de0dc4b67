"""A server of tiny processes under the real supervisor; a program for test_supervisor.py.

    supervised.py SETTINGS.json

Its worker answers a line per connection: `who` says what it is, `hold` keeps the connection until the peer ends it, `crash` kills the
worker. The hostname in the settings tells how it misbehaves.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

from mailmoat import clock
from mailmoat.directory_process import process as directory_process
from mailmoat.errors import ConfigError
from mailmoat.metrics import FILES_REREAD, WORKER_RESTARTS, WORKERS_READY, WORKERS_WANTED
from mailmoat.settings import Settings
from mailmoat.supervisor import children, supervisor
from mailmoat.supervisor.context import Programs, WorkerContext


def read_settings() -> Settings:
    written = json.loads(Path(sys.argv[1]).read_text())
    if "mistake" in written:
        raise ConfigError([written["mistake"], "and another one"])
    return Settings(**written)


class Until:
    """Readable when a signal came or the supervisor is gone; `reread` is called at SIGHUP."""

    def __init__(self, lifeline: int, reread=lambda: None) -> None:
        read, write = os.pipe2(os.O_NONBLOCK)
        signal.signal(signal.SIGTERM, lambda _number, _frame: None)
        signal.signal(signal.SIGHUP, lambda _number, _frame: reread())
        signal.set_wakeup_fd(write)
        self.descriptors = (read, lifeline)

    def is_over(self, descriptor: int) -> bool:
        """Is this the end, and not SIGHUP?"""
        return descriptor != self.descriptors[0] or signal.SIGTERM in os.read(descriptor, 100)


def worker(context: WorkerContext) -> None:
    name = context.settings.hostname.removesuffix(".test")
    if name == "dies" or (name == "odd-ones-die" and context.slot % 2):
        raise RuntimeError("cannot work")
    until = Until(context.lifeline, lambda: context.shared.add(context.slot, FILES_REREAD))
    if name != "hangs":
        context.shared.set(context.slot, WORKERS_READY, 1)
        context.ready()
    wait = select.poll()
    for descriptor in until.descriptors:
        wait.register(descriptor, select.POLLIN)
    listeners = {listener.fileno(): (listener, entry) for listener, entry in context.listeners}
    for descriptor in listeners:
        wait.register(descriptor, select.POLLIN)
    held: dict[int, socket.socket] = {}
    while listeners or held:
        for descriptor, _ in wait.poll():
            if descriptor in until.descriptors:
                if not until.is_over(descriptor):
                    continue
                if name == "stubborn":
                    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
                    signal.pause()
                for listener, _ in listeners.values():
                    wait.unregister(listener.fileno())
                    listener.close()
                listeners = {}
                context.shared.set(context.slot, WORKERS_READY, 0)
                for over in until.descriptors:
                    wait.unregister(over)
                break
            if descriptor in held:
                wait.unregister(descriptor)
                held.pop(descriptor).close()
                continue
            try:
                connection, _ = listeners[descriptor][0].accept()
            except BlockingIOError:
                continue
            connection.setblocking(True)
            command = connection.recv(100)
            if command == b"crash\n":
                os.kill(os.getpid(), signal.SIGKILL)
            connection.sendall(json.dumps(myself(context, str(listeners[descriptor][1]))).encode())
            if command == b"hold\n":
                held[connection.fileno()] = connection
                wait.register(connection.fileno(), select.POLLIN)
            else:
                connection.close()


def myself(context: WorkerContext, address: str) -> dict[str, object]:
    opened = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            opened.append(str(descriptor.readlink()))
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "slot": context.slot,
        "generation": context.generation,
        "hostname": context.settings.hostname,
        "address": address,
        "listeners": len(context.listeners),
        "sockets": sum(name.startswith("socket:") for name in opened),
        "uid": os.getuid(),
        "groups": os.getgroups(),
        "random": clock.random_below(1 << 60),
        "restarts": context.shared.sum(WORKER_RESTARTS),
        "ready": context.shared.sum(WORKERS_READY),
        "wanted": context.shared.sum(WORKERS_WANTED),
    }


def admin(listener: socket.socket, shared, *, ready, lifeline: int, hosts, sources) -> None:
    until = Until(lifeline)
    ready()
    while True:
        readable, _, _ = select.select([*until.descriptors, listener], [], [])
        if readable != [listener]:
            return
        connection, _ = listener.accept()
        connection.setblocking(True)
        connection.recv(100)
        connection.sendall(json.dumps({"pid": os.getpid(), "admin": True}).encode())
        connection.close()


if __name__ == "__main__":
    children.DRAIN_MARGIN = 0.5
    children.READY_TIME = 5.0
    sys.exit(supervisor.run(read_settings(), read_settings, Programs(worker, admin, directory_process.run)))
