"""The admin process over real HTTP: what it answers, and how it ends."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from email.utils import parsedate_to_datetime
from unittest import mock

import pytest
import uvicorn
from tests.integration.conftest import wait_for

import mailmoat.worker  # noqa: F401 - declares all metrics before their memory is made, as the supervisor does
from mailmoat.admin import connection, process
from mailmoat.admin.server import AdminServer
from mailmoat.directory.directory import DIRECTORY_STATE
from mailmoat.lists.lists import WORKERS_LISTS_OK
from mailmoat.metrics import (
    DIRECTORY_AGE,
    DIRECTORY_ENTRIES,
    SESSIONS,
    WORKERS_ACCOUNTS_OK,
    WORKERS_DIRECTORY_OK,
    WORKERS_READY,
    WORKERS_SPOOL_HEALTHY,
    WORKERS_WANTED,
    Metrics,
    render,
    share,
)
from mailmoat.policy.sender_file import SENDER_FILE_STATE
from mailmoat.tls.state import CERTIFICATE_LEFT, CERTIFICATE_STATE


class Admin:
    """A forked admin process; `ready` has been called when the constructor returns."""

    def __init__(self, shared):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        lifeline, self.life = os.pipe()
        told, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.close(self.life)
                hosts = {"mx.example.test", "mail.internal"}
                process.run(self.listener, shared, ready=lambda: os.write(tell, b"!"), lifeline=lifeline, hosts=hosts)
                code = 0
            finally:
                os._exit(code)
        os.close(lifeline)
        os.close(tell)
        assert os.read(told, 1) == b"!"
        os.close(told)

    def ask(self, path, method="GET", host=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, headers={} if host is None else {"Host": host})
            response = connection.getresponse()
            return response.status, response.headers, response.read().decode()

    def ended(self):
        """Exit status once it has ended; the watchdog makes an endless process a failed test."""
        watchdog = threading.Timer(5, os.kill, (self.pid, signal.SIGKILL))
        watchdog.start()
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        watchdog.cancel()
        self.pid = None
        return status

    def close(self):
        self.listener.close()
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        with contextlib.suppress(OSError):
            os.close(self.life)


@pytest.fixture
def shared():
    return share(2, sources=1)


@pytest.fixture
def admin(shared):
    admin = Admin(shared)
    yield admin
    admin.close()


def test_metrics_follow_what_the_workers_count(admin, shared):
    Metrics(shared, 1).add(SESSIONS, 42)
    status, headers, text = admin.ask("/metrics")
    assert status == 200
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert text == render(shared)
    assert "mailmoat_sessions_total 42\n" in text


def test_health_says_what_is_wrong(admin, shared):
    def health():
        status, headers, text = admin.ask("/healthz")
        assert headers["Content-Type"] == "application/json"
        return status, json.loads(text)

    shared.set(2, WORKERS_WANTED, 2)
    failing = {
        "status": "failing",
        "reasons": ["no worker ready"],
        "workers_wanted": 2,
        "workers_ready": 0,
        "directory": {},
        "tls": {},
        "harvests": 0,
        "lists": {},
        "bounces": "on",
    }
    assert health() == (503, failing)
    for metric in (WORKERS_SPOOL_HEALTHY, WORKERS_DIRECTORY_OK, WORKERS_ACCOUNTS_OK, WORKERS_LISTS_OK, WORKERS_READY):
        shared.set(0, metric, 1)
    status, answer = health()
    assert (status, answer["status"], answer["reasons"]) == (200, "degraded", ["1 of 2 workers not ready"])
    for metric in (WORKERS_SPOOL_HEALTHY, WORKERS_DIRECTORY_OK, WORKERS_ACCOUNTS_OK, WORKERS_LISTS_OK, WORKERS_READY):
        shared.set(1, metric, 1)
    well = {
        "status": "ok",
        "reasons": [],
        "workers_wanted": 2,
        "workers_ready": 2,
        "directory": {},
        "tls": {},
        "harvests": 0,
        "lists": {},
        "bounces": "on",
    }
    assert health() == (200, well)
    shared.set(0, DIRECTORY_ENTRIES, 7)
    shared.set(1, DIRECTORY_AGE, 90)
    shared.set(2, DIRECTORY_STATE["current"], 1)
    assert health() == (200, well | {"directory": {"state": "current", "entries": 7, "age": 90}})
    shared.set(2, DIRECTORY_STATE["current"], 0)
    shared.set(2, DIRECTORY_STATE["refused"], 1)
    status, answer = health()
    assert (status, answer["status"]) == (200, "degraded")
    assert answer["reasons"] == ["recipient file refused, an older one is in force"]
    assert answer["directory"]["state"] == "refused"
    shared.set(2, DIRECTORY_STATE["refused"], 0)
    shared.set(2, SENDER_FILE_STATE["refused"], 1)
    assert health()[1]["reasons"] == ["file of blocked senders refused, an older one is in force"]
    shared.set(2, SENDER_FILE_STATE["refused"], 0)
    shared.set(0, CERTIFICATE_LEFT, 86_400 * 40 - 1)
    shared.set(0, CERTIFICATE_STATE["self-signed"], 1)
    status, answer = health()
    assert (answer["status"], answer["tls"]) == ("ok", {"state": "self-signed", "days_left": 39})
    shared.set(1, CERTIFICATE_STATE["expiring"], 1)
    assert health()[1]["reasons"] == ["TLS certificate expires soon"]
    shared.set(1, CERTIFICATE_STATE["refused"], 1)
    assert health()[1]["reasons"] == ["TLS certificate refused, an older one is in force"]
    shared.set(0, CERTIFICATE_STATE["expired"], 1)
    status, answer = health()
    assert (status, answer["status"], answer["reasons"]) == (200, "degraded", ["TLS certificate expired"])
    shared.set(1, WORKERS_ACCOUNTS_OK, 0)
    assert health()[1]["reasons"][0] == "accounts not available, so clients cannot authenticate"
    shared.set(1, WORKERS_SPOOL_HEALTHY, 0)
    shared.set(0, WORKERS_DIRECTORY_OK, 0)
    status, answer = health()
    assert (status, answer["reasons"]) == (503, ["spool unhealthy", "recipient directory not available"])
    shared.reset_gauges(1)
    assert health()[1]["reasons"] == ["recipient directory not available"]


def test_nothing_else_is_answered(admin):
    assert admin.ask("/")[0] == 404
    assert admin.ask("/metrics", "POST")[0] == 405
    status, headers, text = admin.ask("/healthz", "HEAD")
    assert (status, text) == (503, "")
    assert "server" not in headers


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/none"])
def test_each_answer_has_its_date(admin, path):
    before = int(time.time())
    headers = admin.ask(path)[1]
    assert before <= parsedate_to_datetime(headers["date"]).timestamp() <= time.time()


def test_at_rest_it_waits_for_its_end_without_a_timer():
    async def rest():
        server = AdminServer(uvicorn.Config("none"))
        with mock.patch.object(asyncio.get_running_loop(), "call_at", side_effect=AssertionError("a timer")):
            waiting = asyncio.ensure_future(server.main_loop())
            await asyncio.sleep(0)
            assert not waiting.done()
            server.end()
            await waiting

    asyncio.run(rest())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_even_with_connections_open(admin, number):
    with socket.create_connection(("127.0.0.1", admin.port)) as idle:
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(1000).startswith(b"HTTP/1.1 503")
        with socket.create_connection(("127.0.0.1", admin.port)) as half:
            half.sendall(b"GET /metrics HT")
            os.kill(admin.pid, number)
            assert admin.ended() == 0


def test_the_end_of_the_lifeline_ends_it(admin):
    os.close(admin.life)
    assert admin.ended() == 0
    # The supervisor's copy of the socket is as it was: the next admin process can serve on it.
    assert admin.listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


def test_requests_that_are_never_finished_keep_nobody_out(admin, shared):
    for metric in (WORKERS_SPOOL_HEALTHY, WORKERS_DIRECTORY_OK, WORKERS_ACCOUNTS_OK, WORKERS_LISTS_OK, WORKERS_READY):
        shared.set(0, metric, 1)
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            idle = stack.enter_context(socket.create_connection(("127.0.0.1", admin.port)))
            idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        assert admin.ask("/healthz")[0] == 200
        # One that had to give way is closed a turn of the loop later.
        wait_for(lambda: len(os.listdir(f"/proc/{admin.pid}/fd")) < 120, what="bounded number of them")


def test_a_request_has_a_time_limit(monkeypatch, shared):
    monkeypatch.setattr(connection, "REQUEST_TIME", 0.2)
    admin = Admin(shared)
    try:
        for octets in (b"", b"GET /healthz HT", b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1"):
            with socket.create_connection(("127.0.0.1", admin.port), timeout=60) as slow:
                slow.sendall(octets)
                with contextlib.suppress(ConnectionError):
                    while slow.recv(1000):
                        pass
        assert admin.ask("/healthz")[0] == 503
    finally:
        admin.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8025", 200),
        ("[::1]:8025", 200),
        ("localhost", 200),
        ("mailmoat:8025", 200),
        ("mx.example.test.", 200),
        ("MAIL.internal:8025", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("[::1", 200),
        ("", 200),
    ],
)
def test_only_hosts_that_can_be_ours_are_answered(admin, host, status):
    assert admin.ask("/metrics", host=host)[0] == status
    told = admin.ask("/healthz", host=host)
    assert (told[0] == 421) == (status == 421)
    if status == 421:
        assert "admin.hosts" in told[2]
        assert "mailmoat_" not in admin.ask("/metrics", host=host)[2]
