"""Live lookups in the real server: workers, directory process, and a next hop that is asked for recipients."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from tests.doubles.next_hop import NextHop
from tests.integration.conftest import Server

from mailmoat.callout.source import TEST_NAME

ROW = '[[directories]]\nname = "hops"\nurl = "next_hop:"\nmode = "live"\n'


def hop_with(*known, otherwise="550 5.1.1 unknown", **rules):
    """A next hop that has these recipients."""

    def rcpt(line):
        return "250 2.1.5 ok" if line.partition("<")[2].rpartition("@")[0] in known else otherwise

    return NextHop(**{"RCPT": rcpt} | rules)


@pytest.fixture
def behind(server):
    """Makes a server whose recipients are those of a next hop, and alice and bob of its file."""

    def make(hop, row="", **settings):
        named = {
            "MAILMOAT_WORKERS": "1",
            "MAILMOAT_DELIVERY__NEXT_HOP": f"smtp://127.0.0.1:{hop.port}",
            "MAILMOAT_LIMITS__ERRORS": "0",
            "MAILMOAT_LIMITS__UNKNOWN_RECIPIENT_RATE": "off",
        } | settings
        return server(ROW + row, **named)

    return make


def rcpt(client, name):
    return client.ask(f"RCPT TO:<{name}@example.test>")


def begun(mx, **options):
    client = mx.client(**options)
    assert client.ask("MAIL FROM:<x@remote.test>").code == 250
    return client


def asked(hop):
    return [line for line in hop.commands if line.startswith("RCPT") and TEST_NAME not in line]


def directory_process(mx):
    """The pid of the directory process that runs now."""
    started = [line["pid"] for line in mx.logged("process-started") if line["process"].startswith("directory")]
    return next((pid for pid in reversed(started) if pid in mx.pids()), 0)


def test_the_next_hop_is_asked_for_what_nothing_lists(behind):
    with hop_with("carol") as hop:
        mx = behind(hop)
        client = begun(mx)
        assert rcpt(client, "alice").code == 250
        assert mx.until(lambda: rcpt(client, "carol").code == 250, what="answer of the next hop")
        assert rcpt(client, "eve").startswith("550 5.1.1")
        assert rcpt(client, "victim%evil.test").startswith("550 5.1.1")
        assert rcpt(client, "postmaster").code == 250
        assert rcpt(client, "carol").code == 250
        assert asked(hop) == [
            "RCPT TO:<carol@example.test>",
            "RCPT TO:<eve@example.test>",
            "RCPT TO:<carol@example.test>",  # whether the refusal stands
        ]
        assert hop.contents == []
        hop.stop()
        assert rcpt(client, "carol").code == 250, "kept"
        assert rcpt(client, "dora").startswith("451 4.3.0")
        mx.until(lambda: mx.logged("directory-source-failed"), what="outage in the log")
        mx.until(lambda: mx.metric("directory_live_failed") == 1, what="metric")
        for number in range(4):  # until it is held back
            assert rcpt(client, f"nobody{number}").startswith("451 4.3.0")
        assert not mx.logged("directory-source-back"), "of a source that was never away"
        status = mx.cli("directory", "status")
        assert status.returncode == 1
        assert "421 4.4.1 No connection" in status.stdout
        hop.start()
        mx.until(lambda: rcpt(client, "dan").code == 550, what="end of the outage")
        mx.until(lambda: mx.logged("directory-source-back"), what="its end in the log")
        assert len(mx.logged("directory-source-failed")) == 1


def test_while_the_next_hop_is_down_the_server_stays_in_service_and_names_it(behind):
    with hop_with("carol") as hop:
        mx = behind(hop, MAILMOAT_RECIPIENTS__FILE="")
        client = begun(mx)
        mx.until(lambda: rcpt(client, "carol").code == 250, what="answer of the next hop")
        assert mx.health()["status"] == "ok"
        hop.stop()
        assert rcpt(client, "dora").startswith("451 4.3.0")
        health = mx.until(
            lambda: (found := mx.health())["status"] != "ok" and found, what="outage"
        )  # 200: else it raises
        assert health["reasons"] == ["1 of the live sources of recipients not answering; see mailmoat directory status"]
        assert rcpt(client, "carol").code == 250
        done = mx.cli("status")
        first, second, third, *_ = done.stdout.splitlines()
        assert first == f"health    degraded; {health['reasons'][0]}"
        assert second.startswith(f"source    hops: smtp://127.0.0.1:{hop.port}: 421 4.4.1 No connection")
        assert third.startswith("spool ")
        assert done.returncode == 0
        (silent,) = json.loads(mx.cli("status", "--json").stdout)["failing_sources"]
        assert (silent["name"], second) == ("hops", f"source    hops: {silent['error']}")
        hop.start()
        mx.until(lambda: rcpt(client, "dan").code == 550, what="end of the outage")
        mx.until(lambda: mx.health()["status"] == "ok", what="health")
        assert mx.cli("status").stdout.startswith("health    ok\nspool ")


def test_a_silent_source_that_is_taken_out_of_the_settings_is_named_no_more(behind):
    with hop_with("carol") as hop:
        mx = behind(hop)
        client = begun(mx)
        hop.stop()
        assert rcpt(client, "dora").startswith("451 4.3.0")
        mx.until(lambda: "\nsource    hops: " in mx.cli("status").stdout, what="the source in the status")
        mx.config.write_text(mx.config.read_text().replace(ROW, ""))
        assert mx.cli("reload").returncode == 0
        assert "\nsource " not in mx.cli("status").stdout


def test_a_recipient_whose_next_hop_lacks_smtputf8_is_refused_without_a_callout(behind):
    """RFC 6531 3.2: it SHOULD be rejected, as nothing else can be done with it. Others of our next hops take such addresses."""
    with hop_with("carol", EHLO="250-hop.test\n250-8BITMIME\n250 PIPELINING") as old, NextHop() as new:
        routes = f'[[routes]]\ndomains = "new.test"\nnext_hop = "smtp://127.0.0.1:{new.port}"\n'
        domains = "example.test, new.test"
        mx = behind(old, routes, MAILMOAT_RELAY__LOCAL_DOMAINS=domains)
        client = mx.client()
        assert client.ask("MAIL FROM:<x@remote.test> SMTPUTF8").code == 250
        mx.until(lambda: rcpt(client, "carol").code == 250, what="answer of the next hop")
        assert rcpt(client, "b\u00fccher").startswith("550 5.6.7")
        assert client.ask("RCPT TO:<b\u00fccher@new.test>").code == 250
        assert asked(old) == ["RCPT TO:<carol@example.test>"]
        assert not mx.logged("directory-source-failed")


def test_what_counts_of_an_alias_is_what_the_next_hops_of_its_targets_take(behind, tmp_path):
    recipients = tmp_path / "aliases.txt"
    recipients.write_text("b\u00fccher@example.test = books@new.test\ninfo@new.test = b\u00fccher@old.test\n")
    with hop_with("postmaster", EHLO="250-hop.test\n250-8BITMIME\n250 PIPELINING") as old, hop_with("carol") as new:
        routes = f'[[routes]]\ndomains = "new.test"\nnext_hop = "smtp://127.0.0.1:{new.port}"\n'
        domains = "example.test, new.test, old.test"
        mx = behind(old, routes, MAILMOAT_RELAY__LOCAL_DOMAINS=domains, MAILMOAT_RECIPIENTS__FILE=str(recipients))
        client = mx.client()
        assert client.ask("MAIL FROM:<x@remote.test> SMTPUTF8").code == 250
        mx.until(lambda: rcpt(client, "carol").code == 550, what="answer of the next hop")
        assert rcpt(client, "b\u00fccher").code == 250
        assert client.ask("RCPT TO:<info@new.test>").startswith("550 5.6.7")


def test_the_directory_process_is_killed_and_started_again_in_the_middle(behind):
    with hop_with("carol", "postmaster") as hop:
        mx = behind(hop)
        client = begun(mx)
        mx.until(lambda: rcpt(client, "carol").code == 250, what="answer of the next hop")
        killed = mx.until(lambda: directory_process(mx), what="directory process")
        os.kill(killed, signal.SIGKILL)
        codes = {rcpt(client, f"eve{number}").code for number in range(50)}
        assert codes <= {550, 451}
        mx.until(lambda: rcpt(client, "eve").code == 550, what="answer after the restart")
        assert directory_process(mx) not in (0, killed)


def test_a_directory_process_that_hangs_defers_and_refuses_nobody(behind):
    with hop_with("carol") as hop:
        mx = behind(hop, "timeout = 1\n")
        client = begun(mx)
        mx.until(lambda: rcpt(client, "carol").code == 250, what="answer of the next hop")
        pid = mx.until(lambda: directory_process(mx), what="directory process")
        os.kill(pid, signal.SIGSTOP)
        try:
            assert rcpt(client, "carol").startswith("451 4.3.0")
            assert rcpt(client, "alice").code == 250
        finally:
            os.kill(pid, signal.SIGCONT)
        mx.until(lambda: rcpt(client, "carol").code == 250, what="answer")
        assert mx.metric("directory_live_unanswered_total") >= 1


def test_the_command_says_who_was_asked(behind):
    with hop_with("carol") as hop:
        mx = behind(hop)
        client = begun(mx)
        mx.until(lambda: rcpt(client, "carol").code == 250, what="answer of the next hop")
        assert "hops was asked and has it" in mx.cli("recipients", "check", "carol@example.test").stdout
        assert "hops was asked and does not have it" in mx.cli("recipients", "check", "eve@example.test").stdout


def test_a_reload_in_the_middle_refuses_nobody_who_exists(behind):
    with hop_with("carol") as hop:
        mx = behind(hop)
        client = begun(mx)
        mx.until(lambda: rcpt(client, "carol").code == 250, what="answer of the next hop")
        mx.config.write_text(ROW + "timeout = 4\n")
        mx.kill(signal.SIGHUP)
        codes = set()
        while len(mx.logged("reloaded")) < 1:
            codes.add(rcpt(begun(mx), "carol").code)
        assert codes <= {250, 451, 421}
        mx.until(lambda: rcpt(begun(mx), "carol").code == 250, what="answer after the reload")


def test_guesses_are_held_and_counted_as_those_that_the_file_refuses(behind):
    with hop_with("carol") as hop:
        mx = behind(
            hop,
            MAILMOAT_TARPIT__TIME="0.05",
            MAILMOAT_LIMITS__UNKNOWN_RECIPIENT_RATE="10/min burst 10",
        )
        client = begun(mx)
        mx.until(lambda: rcpt(client, "carol").code == 250, what="answer of the next hop")
        before = mx.metric("tarpit_holds_total")
        codes = [rcpt(client, f"eve{number}").code for number in range(5)]
        assert codes == [550] * 5
        assert mx.metric("tarpit_holds_total") - before >= 5
        mx.until(lambda: rcpt(client, "mallory").code not in (550, 250), what="end of the guesses")


def test_a_next_hop_that_accepts_everything_is_named_in_the_log(behind):
    with NextHop() as hop:
        mx = behind(hop)
        client = begun(mx)
        mx.until(lambda: rcpt(client, "anybody").code == 250, what="answer of the next hop")
        (line,) = mx.until(lambda: mx.logged("callout-inconclusive"), what="doubt")
        assert (line["domain"], line["reason"]) == ("example.test", "accepts-every-address")
        mx.until(lambda: mx.metric("directory_live_inconclusive") == 1, what="metric")
        assert any("accepts every address" in reason for reason in mx.health()["reasons"])
        shown = mx.cli("directory", "status", check=True).stdout
        assert "hops: live, next_hop:, answered " in shown
        assert "the next hop of example.test accepts every address" in shown


@pytest.mark.parametrize("hop", ["maildir:mail", "discard:", "mx"])
def test_a_next_hop_that_cannot_be_asked_is_a_mistake(server, hop):
    mx = server(ROW, start=False, MAILMOAT_DELIVERY__NEXT_HOP=hop)
    done = mx.cli("check-config")
    assert done.returncode != 0
    assert "directories[1].url = next_hop: example.test cannot be asked for" in done.stdout + done.stderr


def test_a_next_hop_that_refuses_late_is_found_out(behind):
    with hop_with("carol", end="550 5.1.1 no such mailbox") as hop:
        mx = behind(hop)
        client = begun(mx)
        mx.until(lambda: rcpt(client, "carol").code == 250, what="answer of the next hop")
        assert client.ask("DATA").code == 354
        assert client.ask("Subject: x\r\n\r\nx\r\n.").code == 250
        (line,) = mx.until(lambda: mx.logged("callout-inconclusive"), what="doubt")
        assert (line["domain"], line["reason"]) == ("example.test", "rejects-late")
        assert rcpt(begun(mx), "carol").startswith("550 5.1.1")


def test_a_worker_needs_no_thread_for_it(behind):
    with hop_with("carol") as hop:
        mx = behind(hop)
        (worker,) = mx.workers()
        client = begun(mx)
        assert rcpt(client, "alice").code == 250
        threads = len(list(Path(f"/proc/{worker}/task").iterdir()))
        for number in range(50):
            rcpt(client, f"eve{number}")
        assert len(list(Path(f"/proc/{worker}/task").iterdir())) == threads


def test_a_mailmoat_with_a_tar_pit_can_be_asked(behind, tmp_path):
    (tmp_path / "inner").mkdir()
    inner = Server(tmp_path / "inner", MAILMOAT_TARPIT__TIME="1", MAILMOAT_HOSTNAME="inner.example.test").start()
    try:
        mx = behind(inner, MAILMOAT_RECIPIENTS__FILE="")
        client, other = begun(mx), begun(mx)
        mx.until(lambda: rcpt(client, "alice").code == 250, what="answer of the next hop")
        client.send("RCPT TO:<eve@example.test>", "RCPT TO:<eva@example.test>")
        assert rcpt(other, "bob").code == 250, "not held with them"
        assert [client.reply().code, client.reply().code] == [550, 550]
        assert not mx.logged("directory-source-failed")
    finally:
        assert inner.stop() == 0


def script(path, *known):
    """A live script that has these local parts."""
    path.write_text(f'#!/bin/sh\ncase "${{1%@*}}" in {"|".join(known)}) exit 0;; *) exit 1;; esac\n')
    path.chmod(0o755)
    return f'[[directories]]\nname = "office"\nmode = "live"\nurl = "script://{path}"\n'


def test_workers_of_a_reload_do_not_ask_the_sources_of_before(server, tmp_path):
    """Which worker answers says the name in its greeting."""
    before, after = script(tmp_path / "before", "ann"), script(tmp_path / "after", "bob")
    unlimited = {"MAILMOAT_LIMITS__ERRORS": "0", "MAILMOAT_LIMITS__UNKNOWN_RECIPIENT_RATE": "off"}
    named = {"MAILMOAT_HOSTNAME": None, "MAILMOAT_RECIPIENTS__FILE": None, "MAILMOAT_WORKERS": "1", **unlimited}
    mx = server(f'hostname = "before.test"\n{before}', **named)
    mx.until(lambda: rcpt(begun(mx), "ann").code == 250, what="answer of the source")
    mx.config.write_text(f'hostname = "after.test"\n{after}')
    mx.kill(signal.SIGHUP)
    seen = set()
    while ("after.test", 250) not in seen:
        with mx.client() as client:
            name = client.greeting.split()[1]
            client.ask("MAIL FROM:<x@remote.test>")
            seen.add((name, rcpt(client, "bob").code))
    assert seen <= {("before.test", 550), ("after.test", 451), ("after.test", 250)}
