"""What many clients cost together: memory, descriptors and disk of content that is not finished, and the log of one session."""

from __future__ import annotations

import os
import resource
import signal
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest
from tests.doubles.client import Client, Reply

BEGIN = b"EHLO c.tld\r\nMAIL FROM:<s@remote.tld>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
LINE = b"X-Padding: " + b"x" * 61 + b"\r\n"
BODY = b"y" * 72 + b"\r\n"


class Flood:
    """Clients in one thread; each has sent the beginning of a content and keeps its connection."""

    def __init__(self, port: int, first: int = 1, sources: int = 1) -> None:
        self._port = port
        self._first = first
        self._sources = sources
        self.clients: list[Client] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        for client in self.clients:
            client.close()

    def add(self, count: int, content: bytes) -> None:
        """So many clients more that begin this content, each answered up to its 354."""
        begun = []
        for number in range(count):
            source = f"127.0.0.{self._first + number % self._sources}"
            begun.append(Client(self._port, bind=source, timeout=30, greeted=False))
            begun[-1].raw(BEGIN)
        for client in begun:
            assert client.codes(5) == [220, 250, 250, 250, 354]
        for client in begun:
            client.raw(content)
        self.clients += begun

    def end(self, rest: bytes = b"\r\n.\r\n") -> list[Reply]:
        """Each ends its content; the replies."""
        for client in self.clients:
            client.raw(rest)
        return [client.reply() for client in self.clients]


def memory(pid: int) -> int:
    """Octets a process has for itself."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.partition("RssAnon:")[2].split()[0])


def limited(server, descriptors: int, **environment: str):
    """A server of one worker with so many descriptors."""
    mx = server(start=False, MAILMOAT_WORKERS="1", MAILMOAT_LIMITS__SESSION_TIME="0", **environment)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    mx.start()
    old = mx.workers()
    for pid in (mx.process.pid, *old):
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors, hard))
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    mx.until(lambda: mx.workers() and not set(mx.workers()) & set(old), what="a worker with fewer descriptors")
    mx.until(lambda: mx.metric("workers_ready") == 1, what="a worker")
    assert soft >= descriptors
    return mx


@pytest.mark.parametrize("kind", ["header", "body"])
def test_unfinished_content_costs_no_more_than_the_budget_and_memory_returns(server, kind):
    mx = server(MAILMOAT_WORKERS="1", MAILMOAT_LIMITS__CONTENT_MEMORY="8MiB")
    [pid] = mx.workers()
    assert mx.client().deliver()[:3] == "250"
    before = memory(pid)
    content = LINE * 3300 if kind == "header" else b"\r\n" + BODY * 1700
    with Flood(mx.port) as flood:
        flood.add(400, content)
        mx.until(lambda: sum(1 for _ in (mx.directory / "spool").glob("partitions/*/incoming/*")) > 300, what="files")
        during = memory(pid)
        # 8 KiB for each, what a connection takes itself, and the budget; in memory whole they would take 48 and 95 MiB.
        assert during - before < (8 << 20) + 400 * 20_000, f"{(during - before) / 2**20:.0f} MiB"
    mx.until(lambda: mx.metric("connections") <= 1, what="end of the flood")
    mx.until(lambda: memory(pid) - before < 6 << 20, what="memory that returns")


def test_the_content_of_small_messages_never_needs_the_budget(server):
    mx = server(MAILMOAT_WORKERS="1", MAILMOAT_LIMITS__CONTENT_MEMORY="1")
    for size in (1000, 7000, 100_000):
        assert mx.client().deliver(octets=b"Subject: x\r\n\r\n" + (b"z" * 70 + b"\r\n") * (size // 72))[:3] == "250"
    mx.until(lambda: len(mx.delivered()) == 3, what="delivery")


def test_more_bodies_than_descriptors_drop_no_connection(server):
    mx = limited(server, 1024, MAILMOAT_LIMITS__MEMORY_CONTENT="128KiB")  # every body in a file
    with Flood(mx.port) as flood:
        flood.add(499, b"Subject: x\r\n\r\n" + BODY * 1900)
        [pid] = mx.workers()
        mx.until(lambda: sum(1 for _ in (mx.directory / "spool").glob("partitions/*/incoming/*")) == 499, what="files")
        assert len(os.listdir(f"/proc/{pid}/fd")) < 700
        replies = flood.end()
    assert {reply.code for reply in replies} == {250}, [reply for reply in replies if reply.code != 250][:5]
    mx.until(lambda: len(mx.delivered()) == 499, 60, what="delivery")
    assert "Too many open files" not in mx.log.read_text()


def test_a_burst_of_connections_beyond_the_descriptors_drops_none(server):
    """They are accepted in one turn of the loop, before the pause takes hold."""
    mx = limited(server, 400)
    [pid] = mx.workers()
    os.kill(pid, signal.SIGSTOP)
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", mx.port))) for _ in range(600)]
        os.kill(pid, signal.SIGCONT)
        for client in clients:
            client.settimeout(60)
        while clients:
            client = clients.pop(0)
            assert client.recv(3) == b"220"
            client.close()
    assert "Too many open files" not in mx.log.read_text()
