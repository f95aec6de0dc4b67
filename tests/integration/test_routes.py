"""Routes: recipients by domain, lists of servers, limits of all workers, real Dovecot, Postfix and Exim behind one server."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
from contextlib import contextmanager
from functools import partial

import pytest
from tests import dovecot
from tests.certificates import Authority
from tests.doubles.next_hop import NextHop
from tests.integration.conftest import answers, free_port, wait_for
from tests.integration.test_next_hop_peers import PORT, authority, postfix_behind, public  # noqa: F401 - fixtures
from tests.integration.test_sending_mtas import Exim
from tests.needs import find_peer

DOMAINS = "example.test,lists.test,sub.example.test,store.test,sink.test"


def routed(*rows, next_hop, **more):
    """Settings with these routes."""
    return {
        "MAILMOAT_RELAY__LOCAL_DOMAINS": "example.test",
        "MAILMOAT_RELAY__UNFILTERED_DOMAINS": DOMAINS.removeprefix("example.test,"),
        "MAILMOAT_DELIVERY__NEXT_HOP": next_hop,
        "MAILMOAT_ROUTES": json.dumps([{"domains": domains, "next_hop": hop} | row for domains, hop, row in rows]),
        **more,
    }


def route(domains, hop, **row):
    return domains, hop, row


def at(hop):
    return f"{hop.kind}://127.0.0.1:{hop.port}"


def fates(mx):
    """What became of each recipient last."""
    return {one["recipient"]: one["outcome"] for line in mx.logged("delivery-attempt") for one in line["outcomes"]}


def test_each_recipient_goes_to_the_next_hop_of_its_domain(server, tmp_path):
    with NextHop() as hub, NextHop() as lists, NextHop(lmtp=True, path=tmp_path / "lmtp") as store:
        mx = server(
            **routed(
                route("lists.test, .example.test", at(lists)),
                route("store.test", f"lmtp://{store.path}"),
                route("sink.test", "discard:"),
                next_hop=at(hub),
            )
        )
        recipients = ["alice@example.test", *(f"x@{name}" for name in DOMAINS.split(",")[1:])]
        with mx.client() as client:
            client.submit("m", *recipients)
        assert hub.handed("alice@example.test").recipients == ["alice@example.test"]
        assert store.handed("x@store.test").recipients == ["x@store.test"]
        assert sorted(lists.handed("x@lists.test").recipients) == ["x@lists.test", "x@sub.example.test"]
        mx.until(mx.empty, what="empty spool")
        text = mx.cli("route", *recipients, "y@other.test", "--json", check=True).stdout
        assert [one["next_hop"] for one in json.loads(text)] == [
            at(hub), at(lists), at(lists), f"lmtp://{store.path}", "discard:", at(hub)
        ]  # fmt: skip
        assert [line for line in mx.cli("status").stdout.splitlines() if line.startswith("route")] == [
            f"route     lists.test, .example.test: {at(lists)}",
            f"route     store.test: lmtp://{store.path}",
            "route     sink.test: discard:",
            f"route     all other domains: {at(hub)}",
        ]
        mx.stop()


def test_each_route_has_its_own_tls_account_and_names_of_clients(server, tmp_path):
    """The account of one server goes to no other, nor is a client named to one that was not asked for it."""
    ca = Authority(tmp_path / "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = ca.sign("hub.test")
    context.load_cert_chain(files.chain, files.key)
    tls = partial(context.wrap_socket, server_side=True, suppress_ragged_eofs=True)
    password = tmp_path / "password"
    password.write_text("pencil\n")
    password.chmod(0o600)
    ehlo = "250-hop.test\n250-XCLIENT NAME ADDR\n250-XFORWARD NAME ADDR HELO\n250-AUTH PLAIN\n250 8BITMIME"
    more = {"EHLO": ehlo, "AUTH": "235 2.7.0 in", "XCLI": "220 hop.test", "XFOR": "250 2.0.0 ok"}
    with NextHop(tls=tls, **more) as hub, NextHop(tls=tls, **more) as partner, NextHop(tls=tls, **more) as clear:
        mx = server(
            **routed(
                route(
                    "lists.test", at(partner), tls="verify", tls_ca=str(ca.certificate), tls_names="hub.test",
                    auth_name="edge", auth_password_file=str(password),
                ),
                route("store.test", at(clear), tls="none", xclient=True),
                next_hop=at(hub),
                MAILMOAT_DELIVERY__TLS="encrypt",
            )
        )  # fmt: skip
        with mx.client() as client:
            client.submit("m", "alice@example.test", "x@lists.test", "x@store.test")
        for hop, recipient in ((hub, "alice@example.test"), (partner, "x@lists.test"), (clear, "x@store.test")):
            assert hop.handed(recipient).recipients == [recipient]
        assert [bool(hop.handshakes) for hop in (hub, partner, clear)] == [True, True, False]
        said = [{line.split()[0] for line in hop.commands} for hop in (hub, partner, clear)]
        assert [words & {"AUTH", "XCLIENT", "XFORWARD"} for words in said] == [set(), {"AUTH"}, {"XCLIENT"}]
        mx.until(mx.empty, what="empty spool")
        mx.stop()


def test_what_the_next_hop_of_a_recipient_does_not_take_is_refused_for_it_alone(server):
    narrow = "250-old.test\n250-8BITMIME\n250-SIZE 100000\n250 PIPELINING"
    with NextHop() as hub, NextHop(EHLO=narrow) as old:
        mx = server(**routed(route("lists.test", at(old)), next_hop=at(hub)))
        with mx.client() as client:
            offers = client.expect("EHLO client.remote.tld", 250)
            assert {"8BITMIME", "SMTPUTF8"} <= set(offers.replace("250-", "").split("\n"))
            client.expect("MAIL FROM:<a@remote.test> SIZE=200000", 250)
            assert client.expect("RCPT TO:<x@lists.test>", 552).startswith(
                "552 5.3.4 Message exceeds the limit of 91808"
            )
            client.expect("RCPT TO:<alice@example.test>", 250)
            client.expect("RSET", 250)
            client.expect("MAIL FROM:<\u00e9@remote.test> SMTPUTF8".encode(), 250)
            assert client.expect("RCPT TO:<x@lists.test>", 550).startswith("550 5.6.7 ")
            client.expect("RCPT TO:<alice@example.test>", 250)
        mx.stop()


def test_an_outage_of_one_next_hop_delays_nobody_elsewhere_and_ends_where_it_was(server):
    with NextHop() as hub, NextHop() as lists:
        lists.stop()
        mx = server(**routed(route("lists.test", at(lists)), next_hop=at(hub)))
        with mx.client() as client:
            client.submit("m", "x@lists.test", "alice@example.test")
        hub.handed("alice@example.test")
        wait_for(lambda: mx.logged("delivery-attempt"), 30, "an attempt")
        lists.start()
        lists.handed("x@lists.test")
        mx.until(mx.empty, what="empty spool")
        mx.stop()
    assert len(hub.messages) == 1


# --- all workers together ---


def test_connections_are_counted_for_all_workers_and_given_back_when_one_is_killed(server):
    ends = [None, None, "250 2.0.0 taken"]
    with NextHop(end=ends) as hub:
        mx = server(MAILMOAT_WORKERS="2", MAILMOAT_DELIVERY__NEXT_HOP=at(hub), MAILMOAT_DELIVERY__CONNECTIONS="2")
        for number in range(10):
            with mx.client() as client:
                client.submit(f"m{number}", "alice@example.test")
        hub.wait(lambda: len(hub.contents) >= 2, "two hung transactions")
        assert hub.peak <= 2
        for pid in mx.workers():
            os.kill(pid, signal.SIGKILL)
        hub.wait(lambda: len(hub.ids()) == 10, "all messages", 60)
        mx.until(mx.empty, what="empty spool")
        assert hub.peak <= 2 + 1  # a killed worker's connections end a moment later
        mx.stop()


# --- real next hops ---


@pytest.mark.peer("dovecot")
def test_dovecot_at_a_unix_socket(server):
    with dovecot.storing("alice@example.test", "x@store.test") as store:
        mx = server(**routed(next_hop=f"lmtp://{store.socket}"))
        with mx.client() as client:
            client.submit("m", "alice@example.test", "x@store.test", "nobody@store.test")
        wait_for(lambda: store.messages("x@store.test"), 30, "message in the mailbox")
        wait_for(lambda: "failed" in fates(mx).values(), 30, "refused recipient")
        attempt = mx.logged("delivery-attempt")[0]
        # The report goes there as well, where its address is nobody's.
        assert fates(mx).items() >= {
            ("alice@example.test", "delivered"),
            ("x@store.test", "delivered"),
            ("nobody@store.test", "failed"),
        }
        for address in ("alice@example.test", "x@store.test"):
            (text,) = store.messages(address)
            assert "by store.test with LMTP" in text
        assert attempt["next_hop"] == str(store.socket)
        mx.stop()


@pytest.mark.peer("dovecot")
def test_a_dovecot_that_is_away_gets_its_mail_when_it_is_back(server):
    with dovecot.storing("alice@example.test") as store:
        store.stop()
        mx = server(**routed(next_hop=f"lmtp://{store.socket}"))
        with mx.client() as client:
            client.submit("m", "alice@example.test")
        wait_for(lambda: mx.logged("delivery-attempt"), 30, "an attempt")
        (outcome,) = mx.logged("delivery-attempt")[0]["outcomes"]
        assert outcome["reply"].startswith("421 4.4.1 No connection to the local socket: ")
        store.start()
        wait_for(lambda: store.messages("alice@example.test"), 60, "message in the mailbox")
        mx.stop()


EXIM = """
primary_hostname = exim.test
spool_directory = {spool}
log_file_path = {spool}/log/%slog
log_selector = +received_recipients
queue_only
keep_environment =
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
tls_advertise_hosts =
acl_smtp_rcpt = rcpt
disable_ipv6

begin acl
rcpt:
  deny local_parts = nobody
       message = no such user
  accept

begin routers
nowhere:
  driver = redirect
  data = :blackhole:
"""


@contextmanager
def exim_at(public, port):  # noqa: F811 - the fixture's value
    home = public / "exim"
    home.mkdir()
    exim = Exim(find_peer("exim4"), home, port)
    exim.config.write_text(EXIM.format(spool=exim.spool, port=port))
    with subprocess.Popen([*exim.command, "-bdf"], env=exim.environment) as daemon:
        try:
            wait_for(lambda: answers(port), 30, "greeting of Exim")
            yield exim
        finally:
            daemon.terminate()


@pytest.mark.peer("exim4")
def test_postfix_as_a_backup_and_exim_for_one_domain(server, public, authority):  # noqa: F811
    dead, port = free_port(), free_port()
    with postfix_behind(public, authority) as (_, leaving), exim_at(public, port) as exim:
        mx = server(
            **routed(
                route("lists.test", f"smtp://127.0.0.1:{port}"),
                next_hop=f"smtp://127.0.0.1:{dead}, smtp://127.0.0.1:{PORT}",
            )
        )
        with mx.client() as client:
            client.submit("m", "alice@example.test", "x@lists.test", "nobody@lists.test")
        leaving.handed("alice@example.test")
        wait_for(lambda: " for x@lists.test" in exim.log(), 60, "line of Exim")
        wait_for(lambda: "failed" in fates(mx).values(), 30, "refused recipient")
        assert fates(mx)["alice@example.test"] == fates(mx)["x@lists.test"] == "delivered"
        assert fates(mx)["nobody@lists.test"] == "failed"
        mx.stop()
