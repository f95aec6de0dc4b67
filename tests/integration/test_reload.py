"""SIGHUP, SIGTERM and dead workers, seen from outside: nobody is refused and nothing is lost while the workers change."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time

from tests.doubles.steady import Steady
from tests.integration.conftest import free_port, refused

UNKNOWN = ("MAIL FROM:<>", "RCPT TO:<nobody@example.test>")


def connecting(port):
    """Open a connection every few milliseconds and count what each got."""

    def connect():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                return connection.recv(100)[:3].decode()
        except OSError as error:
            return type(error).__name__

    return Steady(connect, 0.005)


def unless_reset(ask):
    with contextlib.suppress(OSError):
        return ask()


def reload(mx, event="reloaded"):
    """SIGHUP, and wait until it has come to its end and no old worker accepts any more."""
    before = len(mx.logged(event))
    # The admin process is replaced as well: an old one that ends may reset a question on its way.
    ready = mx.until(lambda: unless_reset(lambda: mx.metric("workers_ready")), what="ready workers")
    drained = len(mx.logged("draining"))
    mx.kill(signal.SIGHUP)
    line = mx.until(lambda: mx.logged(event)[before:], what=event)[-1]
    if event == "reloaded":
        mx.until(lambda: len(mx.logged("draining")) >= drained + ready, what="old workers that accept no more")
    return line


def subjects(mx):
    return collections.Counter(
        line for path in mx.delivered() for line in path.read_text().splitlines() if line.startswith("Subject: ")
    )


def test_reloads_under_load_refuse_nobody_and_lose_nothing(server, peer):
    mx = server('workers = 2\n[limits]\nmessage_size = "1 MiB"\n', MAILMOAT_LIMITS__IDLE_COMMANDS="0")
    command = [
        peer("smtp-source"),
        "-s",
        "20",
        "-m",
        "3000",
        "-l",
        "1000",
        "-f",
        "s@remote.tld",
        "-t",
        "alice@example.test",
    ]
    numbered, failures = [], []

    def steady():
        """Messages one by one, each with its number; a 421 between transactions is the sign to come again."""
        client = mx.client()
        number = 0
        while not probe.over.is_set():
            try:
                if client.ask("MAIL FROM:<s@remote.tld>")[:3] != "250":
                    client.close()
                    client = mx.client()
                    continue
                last = client.ask("RCPT TO:<bob@example.test>", "DATA", f"Subject: n{number}\r\n\r\nx\r\n.")
            except OSError:
                client = mx.client()
                continue
            (numbered if last[:3] == "250" else failures).append(last)
            number += 1

    with connecting(mx.port) as probe:
        steadily = threading.Thread(target=steady)
        steadily.start()
        source = subprocess.Popen([*command, f"127.0.0.1:{mx.port}"], stderr=subprocess.PIPE, text=True)
        for workers, size in ((2, 2), (3, 3), (1, 4), (2, 5)):
            mx.config.write_text(f'workers = {workers}\n[limits]\nmessage_size = "{size} MiB"\n')
            reload(mx)
            assert f"250-SIZE {size << 20}" in mx.client(hello="").ask("EHLO x.tld").split("\n")
        _, complaints = source.communicate(timeout=60)
        probe.over.set()
        steadily.join()
    assert source.returncode == 0, complaints
    assert set(probe.results) == {"220"}, probe.results
    assert probe.results["220"] > 50
    assert failures == []
    mx.until(lambda: len(mx.delivered()) >= 3000 + len(numbered), what="all messages")
    assert len(mx.delivered()) == 3000 + len(numbered)
    assert all(count == 1 for subject, count in subjects(mx).items() if subject.startswith("Subject: n"))
    mx.until(lambda: len(mx.workers()) == 2, what="end of the old workers")
    mx.until(lambda: mx.metric("workers_ready") == 2, what="two workers")
    mx.until(lambda: mx.metric("queue_messages") == 0, what="empty queue")


def test_a_broken_file_changes_nothing_and_the_log_names_the_mistake(server):
    mx = server("[tarpit]\ntime = 0.3\n")
    workers = mx.workers()
    for broken, word in (
        ("[tarpit]\ntime = 900\n", "tarpit.time"),
        ("[tarpit]\ntimes = 1\n", "times"),
        ("[tarpit\n", "mailmoat.toml"),
    ):
        mx.config.write_text(broken)
        assert word in reload(mx, "reload-refused")["detail"]
        assert mx.workers() == workers
    client = mx.client()
    client.ask(UNKNOWN[0])
    assert client.timed(UNKNOWN[1])[0] >= 0.3
    holds = mx.metric("tarpit_holds_total")
    mx.config.write_text("[tarpit]\ntime = 0\n")
    reload(mx)
    client = mx.client()
    assert client.ask(*UNKNOWN).startswith("550")
    assert mx.metric("tarpit_holds_total") == holds, "it is not held any more"


def test_new_settings_whose_files_cannot_be_used_change_nothing(server):
    """As at a start: with a password that is not there all messages would wait for the account."""
    mx = server()
    workers = mx.workers()
    wanted = '[delivery]\nnext_hop = "smtp://a.test"\nauth_name = "edge"\nauth_password_file = "none"\n'
    texts = mx.directory / "texts"
    texts.mkdir()
    (texts / "en.txt").write_text("[failed.text]\n{oops}\n")
    for broken, word in (
        (wanted, "delivery.auth_password_file"),
        (f'[reports]\ntemplates = "{texts}"\n', "{oops} is not a placeholder"),
    ):
        mx.config.write_text(broken)
        (mistake,) = json.loads(mx.cli("check-config", "--json").stdout)["mistakes"]
        assert word in mistake
        assert reload(mx, "reload-refused")["detail"] == mistake
    assert mx.workers() == workers


def test_a_reload_moves_to_other_addresses_and_recipients(server):
    mx = server()
    other = free_port()
    del mx.environment["MAILMOAT_LISTEN"]
    mx.stop()
    mx.config.write_text(f'listen = ["127.0.0.1:{mx.port}"]\n')
    mx.start()
    mx.config.write_text(f'listen = ["127.0.0.1:{other}"]\n')
    reload(mx)
    assert mx.client(port=other).ask("NOOP")[:3] == "250"
    mx.until(lambda: refused(mx.port), what="end of the old address")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        mx.config.write_text(f'listen = ["127.0.0.1:{other}", "127.0.0.1:{taken.getsockname()[1]}"]\n')
        assert "listen" in reload(mx, "reload-refused")["detail"]
    assert mx.client(port=other).ask("NOOP")[:3] == "250"


def test_sigterm_lets_a_transaction_end_and_sends_idle_clients_away(server):
    mx = server(MAILMOAT_WORKERS="1", MAILMOAT_TARPIT__TIME="2.5")
    idle, busy, held = mx.client(), mx.client(), mx.client()
    busy.ask("MAIL FROM:<s@remote.tld>", "RCPT TO:<alice@example.test>", "DATA")
    busy.send("Subject: under way", "")
    held.ask(UNKNOWN[0])
    held.send(UNKNOWN[1])
    begun = time.monotonic()
    mx.until(lambda: mx.metric("tarpit_held_sessions") == 1, what="held session")
    mx.kill(signal.SIGTERM)
    assert idle.reply().startswith("421 4.3.2")
    assert idle.reply() == ""
    assert refused(mx.port)
    assert not mx.exited()
    busy.send("rest", ".")
    assert busy.reply()[:9] == "250 2.6.0"
    assert busy.reply().startswith("421 4.3.2")
    assert held.reply() == "550 5.1.1 User unknown"
    assert time.monotonic() - begun >= 2.3
    held.close()
    mx.until(mx.exited, what="end")
    assert mx.process.returncode == 0
    mx.start()  # what was accepted last may wait in the spool
    [message] = mx.until(mx.delivered, what="message")
    assert b"rest" in message.read_bytes()


def test_draining_has_an_end(server):
    mx = server(MAILMOAT_WORKERS="1", MAILMOAT_DRAIN_TIME="1", MAILMOAT_TARPIT__TIME="120")
    client, held = mx.client(), mx.client()
    client.ask("MAIL FROM:<s@remote.tld>", "RCPT TO:<alice@example.test>", "DATA")
    held.ask(UNKNOWN[0])
    held.send(UNKNOWN[1])
    mx.until(lambda: mx.metric("tarpit_held_sessions") == 1, what="held session")
    mx.kill(signal.SIGTERM)
    assert client.reply().startswith("421 4.3.2")
    assert held.reply().startswith("421 4.3.2"), "and not the refusal that it waits for"
    mx.until(mx.exited, what="end")
    assert mx.process.returncode == 0


def test_a_killed_worker_is_replaced_and_nobody_is_refused(server):
    mx = server(MAILMOAT_WORKERS="2")
    old = mx.workers()
    with connecting(mx.port) as probe:
        for pid in old:
            os.kill(pid, signal.SIGKILL)
            mx.until(lambda pid=pid: pid not in mx.workers() and len(mx.workers()) == 2, what="another worker")
            mx.until(lambda: mx.metric("workers_ready") == 2, what="two ready workers")
            assert mx.client().deliver()[:3] == "250"
        seen = sum(probe.results.values())
        mx.until(lambda: sum(probe.results.values()) > seen + 20, what="more connections")
    # Those the dead worker had accepted are lost with it; none was refused.
    assert "ConnectionRefusedError" not in probe.results
    assert probe.results["220"] > 20
    assert sum(count for result, count in probe.results.items() if result != "220") <= 4, probe.results
    assert not set(old) & set(mx.workers())
    assert mx.metric("worker_restarts_total") == 2
    mx.until(lambda: len(mx.delivered()) == 2, what="both messages")
    assert mx.metric("connections") >= 0
