"""Mail for the world by MX records: the real server, a real name server, several servers on 127/8, and a web server for MTA-STS."""

from __future__ import annotations

import email
import email.policy
import json
import ssl
from contextlib import ExitStack

import pytest
from tests import namespace
from tests.certificates import Authority
from tests.doubles.name_server import NameServer
from tests.doubles.web_server import WebServer, page
from tests.integration.conftest import wait_for
from tests.mx_world import World, record, secured

from mailmoat._native import Certificate


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def world(server):
    with ExitStack() as stack:
        yield World(server, stack, stack.enter_context(NameServer()))


def test_mail_from_inside_goes_to_the_servers_of_each_domain(world):
    """By preference, with fall-back to the next host and address; without MX to the domain itself; by aliases."""
    record(
        world.names,
        """
        one.test        MX      20 b.one.test
        one.test        MX      10 a.one.test
        a.one.test      A       127.0.0.9
        a.one.test      AAAA    ::1
        b.one.test      A       127.0.0.2
        two.test        A       127.0.0.3
        three.test      CNAME   one.test
        four.test       MX      10 mx.four.test
        mx.four.test    CNAME   b.one.test
        """,
    )
    two, three = world.host("127.0.0.2"), world.host("127.0.0.3")
    world.start()
    world.send("x@one.test")
    world.send("x@two.test", "y@one.test", "alice@example.test")
    world.send("x@three.test")
    world.send("x@four.test")
    expected = {"x@one.test", "y@one.test", "x@three.test", "x@four.test"}
    two.wait(lambda: {to for message in two.messages for to in message.recipients} == expected, "all for one host")
    three.wait(lambda: [message.recipients for message in three.messages] == [["x@two.test"]], "mail for two.test")
    wait_for(world.moat.empty, what="empty spool")
    assert world.moat.metrics()['mailmoat_mx_tls_total{policy="no-policy-found",result="starttls-not-supported"}'] > 0


def test_what_cannot_be_delivered_is_reported_to_whom_sent_it(world, tmp_path):
    """Null MX, no domain, a loop; and what may pass waits."""
    world.names.add("null.test", "MX", (0, "."))
    record(
        world.names,
        """
        loop.test       MX      10 mx.example.test
        loop.test       MX      20 b.test
        b.test          A       127.0.0.2
        absent.test     MX      10 gone.test
        slow.test       MX      10 b.test
        """,
    )
    world.names.set("slow.test", fault="servfail")
    hop = world.host("127.0.0.2")
    world.start()
    ids = {domain: world.send(f"x@{domain}.test") for domain in ("null", "gone", "loop", "absent", "slow")}
    status = {domain: " ".join(world.reply(queue_id).split()[:2]) for domain, queue_id in ids.items()}
    assert status == {
        "null": "556 5.1.10",
        "gone": "550 5.1.2",
        "loop": "554 5.4.6",
        "absent": "451 4.4.4",
        "slow": "451 4.4.3",
    }
    reports = wait_for(lambda: len(found := list((tmp_path / "home" / "new").glob("*"))) == 3 and found, what="reports")
    texts = [email.message_from_bytes(file.read_bytes(), policy=email.policy.SMTP) for file in reports]
    failed = {str(text.get_payload()[1].get_payload()[1]["Status"]) for text in texts}
    assert failed == {"5.1.10", "5.1.2", "5.4.6"}
    world.names.set("slow.test")
    hop.wait(lambda: [message.recipients for message in hop.messages] == [["x@slow.test"]], "what had to wait")


def test_our_reports_reach_the_world(world):
    record(world.names, "remote.test MX 10 a.test\na.test A 127.0.0.2\nrefusing.test MX 10 b.test\nb.test A 127.0.0.3")
    home = world.host("127.0.0.2")
    world.host("127.0.0.3", RCPT="550 5.1.1 nobody")
    world.start()
    world.send("x@refusing.test", sender="someone@remote.test")
    home.wait(lambda: home.messages, "report")
    (report,) = home.messages
    assert (report.sender, report.recipients) == ("", ["someone@remote.test"])


def test_a_domain_that_names_this_machine_is_no_way_into_it(world):
    record(world.names, "evil.test MX 10 a.evil.test\na.evil.test A 127.0.0.2")
    hop = world.host("127.0.0.2")
    world.start(MAILMOAT_MX__IGNORED_NETWORKS=None)
    assert world.reply(world.send("x@evil.test")).startswith("550 5.4.4")
    assert world.reply(world.send("x@[127.0.0.2]")).startswith("550 5.4.4")
    assert hop.accepted == 0


def test_an_address_in_place_of_a_domain_is_delivered_to(world):
    hop = world.host("127.0.0.2")
    world.start()
    world.send("x@[127.0.0.2]")
    hop.wait(lambda: hop.messages, "message")


# --- DANE ---


def test_dane_authenticates_or_waits_and_never_sends_in_clear(world, authority):
    """RFC 7672 2.2, 3.1.1: the certificate is over and for another name, and its key is the right one."""
    tls = secured(authority, "elsewhere.test", days=-1, file="over")
    digest = Certificate(tls.leaf).public_key_digest
    record(
        world.names,
        f"""
        good.test                   MX      10 mx.good.test
        mx.good.test                A       127.0.0.2
        bad.test                    MX      10 mx.bad.test
        mx.bad.test                 A       127.0.0.2
        clear.test                  MX      10 mx.clear.test
        mx.clear.test               A       127.0.0.3
        lost.test                   MX      10 mx.lost.test
        mx.lost.test                A       127.0.0.2
        open.test                   MX      10 mx.open.test
        mx.open.test                A       127.0.0.3
        _{world.port}._tcp.mx.good.test     TLSA    3 1 1 {digest}
        _{world.port}._tcp.mx.bad.test      TLSA    3 1 1 {"00" * 32}
        _{world.port}._tcp.mx.clear.test    TLSA    3 1 1 {digest}
        """,
    )
    world.names.sign("good.test", "bad.test", "clear.test", "lost.test")
    world.names.set(f"_{world.port}._tcp.mx.lost.test", fault="servfail")
    hop, clear = world.host("127.0.0.2", tls=tls), world.host("127.0.0.3")
    world.start()
    assert world.reply(world.send("x@open.test"))[0] == "2"  # in clear, and the address is known to have no TLS
    good = world.send("x@good.test")
    assert world.reply(good)[0] == "2"
    (line,) = [line for line in world.moat.logged("delivery-attempt") if line["queue_id"] == good]
    assert (line["verified"], line["host"]) == (True, "mx.good.test")
    assert world.reply(world.send("x@bad.test")).startswith("451 4.7.5")
    assert world.reply(world.send("x@clear.test")).startswith("451 4.7.5")
    assert world.reply(world.send("x@lost.test")).startswith("451 4.4.3")
    assert [message.recipients for message in hop.messages] == [["x@good.test"]]
    assert [message.recipients for message in clear.messages] == [["x@open.test"]]
    metrics = world.moat.metrics()
    counted = {result: metrics[f'mailmoat_mx_tls_total{{policy="tlsa",result="{result}"}}'] for result in RESULTS}
    assert all(counted.values()), counted


RESULTS = ("success", "validation-failure", "starttls-not-supported", "dnssec-invalid")


def test_the_command_shows_what_a_delivery_would_find(world, authority):
    record(
        world.names,
        f"""
        good.test                   MX      10 mx.good.test
        mx.good.test                A       127.0.0.2
        _{world.port}._tcp.mx.good.test     TLSA    3 1 1 {"01" * 32}
        _smtp._tls.good.test        TXT     "v=TLSRPTv1; rua=mailto:tls@good.test"
        """,
    )
    world.names.sign("good.test")
    moat = world.start().moat
    found = json.loads(moat.cli("mx", "Good.test", "--json", check=True).stdout)
    assert found["hosts"] == [
        {
            "name": "mx.good.test",
            "port": world.port,
            "addresses": ["127.0.0.2"],
            "tls": "verify",
            "policy": "tlsa",
            "tlsa": ["3 1 1 " + "01" * 32],
            "certificate_names": ["mx.good.test", "good.test"],
        }
    ]
    assert (found["dane"], found["mta_sts"], found["reports_to"]) == ("on", None, ["mailto:tls@good.test"])
    shown = moat.cli("mx", "good.test", check=True).stdout
    assert "mx.good.test" in shown
    assert "TLS: verify (tlsa)" in shown
    refused = moat.cli("mx", "gone.test")
    assert (refused.returncode, refused.stdout.split("\n")[0][:24]) == (1, "gone.test: 550 5.1.2 gon")
    assert moat.cli("mx", "no domain").returncode == 1
    world.names.set("dead.test", fault="servfail")
    silent = moat.cli("mx", "dead.test").stdout
    assert silent.startswith("dead.test: 451 4.4.3 ")
    assert "MTA-STS: not known\nTLS reports: not known\n" in silent, (
        "who does not answer has not said that there is none"
    )
    record(world.names, "inner.test MX 10 mx.inner.test\nmx.inner.test A 203.0.113.1")
    assert "all of them are in mx.ignored_networks" in moat.cli("mx", "inner.test").stdout


# --- MTA-STS ---


@pytest.fixture
def alone(root):
    with namespace.alone():
        yield


def test_a_policy_is_enforced_and_outlives_its_web_server(alone, server, authority):
    """RFC 8461 3.3, 4: the host is one of the policy's, and has a certificate for its name; whatever fails later."""
    with ExitStack() as stack:
        world = World(server, stack, stack.enter_context(NameServer()))
        record(
            world.names,
            """
            sts.test            MX      10 other.test
            sts.test            MX      20 mx.sts.test
            other.test          A       127.0.0.3
            mx.sts.test         A       127.0.0.2
            mta-sts.sts.test    A       127.0.0.4
            _mta-sts.sts.test   TXT     "v=STSv1; id=1"
            _smtp._tls.sts.test TXT     "v=TLSRPTv1; rua=mailto:tls@sts.test"
            """,
        )
        good, bad = secured(authority, "mx.sts.test"), secured(authority, "elsewhere.test", file="bad")
        hop, other = world.host("127.0.0.2", tls=good), world.host("127.0.0.3", tls=good)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        files = authority.sign("mta-sts.sts.test")
        context.load_cert_chain(files.chain, files.key)
        policy = b"version: STSv1\r\nmode: enforce\r\nmx: *.sts.test\r\nmax_age: 86400\r\n"
        with WebServer(context, page(policy), host="127.0.0.4", port=443) as web:
            world.start(MAILMOAT_MX__TLS_CA=str(authority.certificate))
            assert world.reply(world.send("x@sts.test"))[0] == "2"
            assert len(web.requests) == 1
        hop.tls = bad
        hop.wait(lambda: not hop.open, "end of the connections")
        world.names.clear("_mta-sts.sts.test")
        world.moat.stop()
        world.moat.start()
        waiting = world.send("y@sts.test")
        assert world.reply(waiting).startswith("451 4.7.5")
        hop.tls = good
        hop.wait(lambda: len(hop.messages) == 2, "the second message")
        assert other.accepted == 0
        world.moat.stop()
        (file,) = (world.moat.directory / "spool" / "tls-reports").iterdir()
        lines = [json.loads(line)["of"] for line in file.read_text().splitlines()]
        assert {line["result"] for line in lines} == {"success", "certificate-host-mismatch"}
        assert {(line["domain"], line["policy"], line["host"]) for line in lines} == {
            ("sts.test", "sts", "mx.sts.test")
        }
        assert all(line["reports_to"] == ["mailto:tls@sts.test"] for line in lines)
