"""The supervisor's parts by themselves: the crash-loop guard, listening sockets, process reports."""

from __future__ import annotations

import errno
import os
import socket
from itertools import pairwise
from pathlib import Path

import pytest

from mailmoat.errors import ConfigError
from mailmoat.settings import Settings
from mailmoat.supervisor import generation, process, sockets
from mailmoat.supervisor.backoff import GOOD_SERVICE, LONGEST_WAIT, Backoff


def test_waits_grow_and_end_at_the_bound() -> None:
    backoff = Backoff()
    waits = [backoff.wait(0.0) for _ in range(100)]
    assert waits[:5] == [0.0, 0.5, 1.0, 2.0, 4.0]
    assert all(earlier <= later for earlier, later in pairwise(waits))
    assert waits[-1] == LONGEST_WAIT


def test_a_good_life_forgets_failures() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.wait(GOOD_SERVICE - 1)
    assert backoff.wait(float("-inf")) > 0.0
    assert backoff.wait(GOOD_SERVICE) == 0.0
    assert backoff.failures == 1


@pytest.fixture
def address():
    address = sockets.ListenAddress("127.0.0.1", 0, 4, None)
    yield address
    address.close()


def test_all_workers_share_the_port_a_zero_took(address) -> None:
    assert len({listener.getsockname() for listener in address.sockets}) == 1


def test_only_sockets_of_running_workers_listen(address) -> None:
    assert address.listen(2) == address.sockets[:2]
    assert address.of_worker(0, 2) == address.sockets[:1]
    assert address.of_worker(1, 2) == address.sockets[1:2]
    connect_to(address, 20)
    assert sum(accept_all(listener) for listener in address.sockets[:2]) == 20


def test_fewer_workers_serve_all_that_listens(address) -> None:
    address.listen(4)
    assert address.listen(3) == []
    assert address.of_worker(0, 3) == [address.sockets[0], address.sockets[3]]
    served = [listener for number in range(3) for listener in address.of_worker(number, 3)]
    assert set(served) == set(address.sockets)


def test_a_silenced_socket_gets_nothing_and_can_listen_again(address) -> None:
    address.listen(1)
    opened = address.listen(3)
    sockets.silence(opened)
    assert address.of_worker(1, 4) == []
    connect_to(address, 20)
    assert accept_all(address.sockets[0]) == 20
    assert address.listen(3) == opened


def test_a_taken_port_is_an_error_and_leaves_nothing() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        before = descriptors()
        with pytest.raises(OSError, match="in use"):
            sockets.ListenAddress("127.0.0.1", taken.getsockname()[1], 3, None)
        assert descriptors() == before


def test_a_machine_without_ipv6_listens_on_what_it_has(monkeypatch, tmp_path) -> None:
    class WithoutIpv6(sockets.ListenAddress):
        def __init__(self, host, port, most, owner) -> None:
            if ":" in host:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(host, port, most, owner)

    monkeypatch.setattr(generation, "ListenAddress", WithoutIpv6)
    made = generation.make(0, Settings(listen="127.0.0.1:0, [::]:0", workers=1, spool_dir=tmp_path), None, 2, None)
    assert [listener.host for listener in made.addresses] == ["127.0.0.1"]
    made.close()
    for nothing_left in ("[::]:0", "127.0.0.1:0, [::1]:0"):
        with pytest.raises(ConfigError):
            generation.make(0, Settings(listen=nothing_left, workers=1, spool_dir=tmp_path), None, 2, None)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def connect_to(address: sockets.ListenAddress, times: int) -> None:
    for _ in range(times):
        socket.create_connection(address.sockets[0].getsockname()).close()


def accept_all(listener: socket.socket) -> int:
    accepted = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return accepted
        accepted += 1


def outcome(work) -> tuple[str, int]:
    child = process.start("test", lambda: None, work)
    os.set_blocking(child.descriptor, True)
    child.listen()
    _, status = os.waitpid(child.pid, 0)
    return child.report, os.waitstatus_to_exitcode(status)


def test_a_report_is_heard_once_whole() -> None:
    def work(report: process.Report) -> None:
        report("x" * 300_000)
        report("too late")

    assert outcome(work) == ("x" * 300_000, 0)


def test_an_exception_is_reported() -> None:
    def work(report: process.Report) -> None:
        raise LookupError("nothing there")

    assert outcome(work) == ("failed: LookupError: nothing there", 1)


def test_an_exit_is_an_exit() -> None:
    def work(report: process.Report) -> None:
        raise SystemExit(7)

    assert outcome(work) == ("", 7)
