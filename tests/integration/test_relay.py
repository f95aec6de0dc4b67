"""Relay control and the recipient filter over real connections (behaviours 2 and 4), with a next hop that records what leaves."""

from __future__ import annotations

import json
import os

import pytest
from tests.doubles.next_hop import NextHop
from tests.integration.conftest import replace
from tests.smtp_sink import SmtpSink

UNABLE = "550 5.7.1 Unable to relay for someone@remote.tld"
BRACKETS = pytest.mark.parametrize("brackets", ["<{}>", "{}"], ids=["brackets", "bare"])


@pytest.fixture
def sink(tmp_path):
    """The next hop."""
    with SmtpSink("-c", directory=tmp_path / "sink") as made:
        yield made


def local_tld(server, **environment):
    """The server of the document: local.tld, at its own address."""
    environment = {
        "MAILMOAT_RELAY__LOCAL_DOMAINS": "local.tld,other.tld",
        "MAILMOAT_HOSTNAME": "mx.local.tld",
        **environment,
    }
    mx = server(start=False, **environment)
    mx.recipients.write_text("localuser@local.tld\nfriend@other.tld\n")
    return mx.start()


def ask(client, sender, recipient, brackets="<{}>"):
    """RSET, MAIL, RCPT; their replies."""
    replies = [client.ask("RSET")]
    replies.append(client.ask(f"MAIL FROM:{brackets.format(sender) if sender else '<>'}"))
    replies.append(client.ask(f"RCPT TO:{brackets.format(recipient)}"))
    return replies


@BRACKETS
@pytest.mark.parametrize("lookup", ["true", "false"])
def test_the_seven_tests(server, sink, lookup, brackets):
    mx = local_tld(
        server, MAILMOAT_RECIPIENTS__LOOKUP=lookup, MAILMOAT_DELIVERY__NEXT_HOP=f"smtp://127.0.0.1:{sink.port}"
    )
    client = mx.client(hello="")
    assert client.ask("EHLO outside.tld")[:3] == "250"
    reset = "250 2.0.0 Resetting"

    def answers(sender, shown, recipient="someone@remote.tld"):
        first, second, third = ask(client, sender, recipient, brackets)
        assert (first, second) == (reset, f"250 2.1.0 {shown}....Sender OK")
        return third

    assert answers("user@remote.tld", "user@remote.tld") == UNABLE  # 1
    assert answers("localuser", "localuser@local.tld") == UNABLE  # 2
    assert answers("", "<>") == UNABLE  # 3
    assert answers("localuser@local.tld", "localuser@local.tld") == UNABLE  # 4
    for own in ("127.0.0.1", "[127.0.0.1]", "localhost", "mx.local.tld"):  # 5
        assert answers(f"localuser@{own}", f"localuser@{own}") == UNABLE
    if lookup == "true":
        assert answers("localuser", "localuser@local.tld", "someone%remote.tld") == "550 5.1.1 User unknown"  # 6
        assert answers("localuser", "localuser@local.tld", '"someone@remote.tld"') == "550 5.1.1 User unknown"  # 7
        client.ask("QUIT")
        mx.until(lambda: mx.logged("session-ended"), what="end of the session")
        mx.stop()
        assert sink.messages() == []
        return
    for recipient in ("someone%remote.tld", '"someone@remote.tld"'):
        assert answers("localuser", "localuser@local.tld", recipient) == f"250 2.1.5 {recipient}@local.tld"
        assert client.ask("DATA")[:3] == "354"
        assert client.ask("Subject: relay me\r\n\r\nx\r\n.")[:9] == "250 2.6.0"
    mx.until(lambda: mx.metric('delivery_attempts_total{outcome="delivered"}') == 2, what="two reports at the next hop")
    mx.stop()
    # The proof that nothing was relayed: two reports to the sender, with a null reverse-path, and nothing else has left.
    messages = [message.decode() for message in sink.messages()]
    assert len(messages) == 2
    for message in messages:
        envelope = [line for line in message.splitlines() if line.startswith(("X-Mail-Args:", "X-Rcpt-Args:"))]
        assert [line.split()[1] for line in envelope] == ["<>", "<localuser@local.tld>"]
        assert "multipart/report" in message
        assert "Status: 5.1.1" in message
    named = "".join(messages)
    assert "someone%remote.tld@local.tld" in named
    assert '"someone@remote.tld"@local.tld' in named
    assert not [line for line in named.splitlines() if line.startswith("X-Rcpt-Args:") and "remote.tld" in line]


def test_historical_forms_are_nobodys_way_out(server):
    mx = local_tld(server, MAILMOAT_LIMITS__ERRORS="0", MAILMOAT_LIMITS__IDLE_COMMANDS="0")
    client = mx.client()
    for recipient, code in {
        "someone@remote.tld@local.tld": "5",
        "remote.tld!someone": "550 5.1.1",
        "remote.tld!someone@local.tld": "550 5.1.1",
        "@local.tld:someone@remote.tld": "550 5.7.1",
        "@local.tld,@other.tld:someone@remote.tld": "550 5.7.1",
        "someone@[127.0.0.1]": "550 5.7.1",
        "someone@localhost": "550 5.7.1",
        "someone@mx.local.tld": "550 5.7.1",
        "IMCEASMTP-someone+40remote+2Etld@local.tld": "550 5.1.1",
        '"\\"someone@remote.tld\\""@local.tld': "550 5.1.1",
        "someone%remote.tld@local.tld": "550 5.1.1",
        "localuser@LOCAL.TLD.": "250 2.1.5 localuser@local.tld",
        "LocalUser@Local.Tld": "250 2.1.5",
        "localuser@local.tld.remote.tld": "550 5.7.1",
        "localuser@xlocal.tld": "550 5.7.1",
    }.items():
        assert ask(client, "", recipient)[2].startswith(code), recipient


def test_relay_test_passes_against_it(server):
    mx = local_tld(server, MAILMOAT_TARPIT__TIME="0.2")
    for arguments in (["--local-domain", "local.tld"], []):
        result = mx.cli("relay-test", f"127.0.0.1:{mx.port}", "--json", *arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        assert json.loads(result.stdout)["results"]["pass"] >= 20


def test_networks_and_unfiltered_domains_may(server):
    mx = local_tld(server, MAILMOAT_RELAY__UNFILTERED_DOMAINS="partner.tld")
    client = mx.client()
    assert ask(client, "", "anybody@partner.tld")[2] == "250 2.1.5 anybody@partner.tld"
    assert ask(client, "", "anybody@sub.partner.tld")[2][:9] == "550 5.7.1"
    mx.stop()
    mx = local_tld(server, MAILMOAT_RELAY__NETWORKS="127.0.0.0/8")
    client = mx.client()
    assert ask(client, "", "someone@remote.tld")[2] == "250 2.1.5 someone@remote.tld"
    assert ask(client, "", "nobody@local.tld")[2] == "550 5.1.1 User unknown"  # relaying is not existing


def test_a_subaddress_exists_when_its_address_does_and_goes_on_as_it_was_sent(server):
    with NextHop() as hop:
        mx = local_tld(server, MAILMOAT_DELIVERY__NEXT_HOP=f"smtp://127.0.0.1:{hop.port}")
        client = mx.client()
        assert ask(client, "", "LocalUser+News@local.tld")[2] == "250 2.1.5 LocalUser+News@local.tld"
        assert ask(client, "", "nobody+news@local.tld")[2] == "550 5.1.1 User unknown"
        assert ask(client, "", "localuser+x%remote.tld@local.tld")[2] == "550 5.1.1 User unknown"
        client.ask("RSET")
        assert client.deliver(recipient="LocalUser+News@local.tld")[:3] == "250"
        mx.until(lambda: hop.to("LocalUser+News@local.tld"), what="message at the next hop")
        mx.stop()


def test_postmaster_and_the_block_list(server):
    mx = local_tld(
        server,
        MAILMOAT_RECIPIENTS__BLOCKED="localuser@local.tld,x@partner.tld",
        MAILMOAT_RELAY__UNFILTERED_DOMAINS="partner.tld",
    )
    client = mx.client()
    for recipient, reply in {
        "Postmaster": "250 2.1.5 Postmaster@local.tld",
        "postmaster@local.tld": "250 2.1.5 postmaster@local.tld",
        "POSTMASTER@other.tld": "250 2.1.5 POSTMASTER@other.tld",
        "postmaster@remote.tld": "550 5.7.1 Unable to relay for postmaster@remote.tld",
        "localuser@local.tld": "550 5.1.1 User unknown",
        "LOCALUSER": "550 5.1.1 User unknown",
        "x@partner.tld": "550 5.1.1 User unknown",
        "friend@other.tld": "250 2.1.5 friend@other.tld",
    }.items():
        assert ask(client, "", recipient)[2] == reply
    metrics = mx.metrics
    client.ask("QUIT")
    assert metrics()['mailmoat_policy_refusals_total{reason="blocked-recipient"}'] == 3
    assert metrics()['mailmoat_policy_refusals_total{reason="relay-denied"}'] == 1


def test_a_start_without_the_recipient_file_goes_on_with_the_last_good_snapshot_or_not_at_all(server):
    mx = local_tld(server)
    snapshot = next((mx.directory / "spool").glob("directory.snapshot"))
    client = mx.client()
    assert ask(client, "", "localuser")[2][:3] == "250"
    mx.stop()
    mx.recipients.unlink()  # a start without the file goes on with the snapshot there is
    mx.start()
    client = mx.client()
    assert ask(client, "", "localuser")[2][:3] == "250"
    assert ask(client, "", "nobody")[2] == "550 5.1.1 User unknown"
    mx.stop()
    snapshot.unlink()
    mx.start(wait=False)
    mx.until(mx.exited, what="refusal to start without any directory")
    assert mx.process.returncode == 1
    assert any("recipient" in line["detail"] for line in mx.logged("start-refused"))


def test_a_snapshot_that_breaks_under_a_running_worker_is_451(server):
    mx = local_tld(server, MAILMOAT_WORKERS="1")
    snapshot = mx.directory / "spool" / "directory.snapshot"
    broken = snapshot.with_name("broken")
    broken.write_bytes(b"\0" * 4096)
    mx.recipients.unlink()  # the supervisor has nothing to mend it from
    os.replace(broken, snapshot)
    os.kill(mx.workers()[0], 9)  # the next worker finds only this
    mx.until(lambda: len(mx.logged("process-ready")) >= 3, what="another worker")
    client = mx.client()
    assert ask(client, "", "localuser@local.tld")[2].startswith("451 4.3.0")
    assert ask(client, "", "nobody@local.tld")[2].startswith("451 4.3.0")
    assert ask(client, "", "postmaster@local.tld")[2].startswith("250")
    assert ask(client, "", "someone@remote.tld")[2] == UNABLE
    client.ask("QUIT")
    mx.until(lambda: mx.metric('policy_refusals_total{reason="directory-unavailable"}') == 2, what="count")


def test_a_changed_recipient_file_counts_and_a_broken_one_does_not(server):
    mx = local_tld(server, MAILMOAT_WORKERS="2", MAILMOAT_LIMITS__ERRORS="0", MAILMOAT_LIMITS__IDLE_COMMANDS="0")
    clients = [mx.client() for _ in range(6)]  # of both workers, most likely

    def all_say(recipient, code):
        return all(ask(client, "", recipient)[2].startswith(code) for client in clients)

    assert all_say("newcomer@local.tld", "550 5.1.1")
    replace(mx.recipients, "localuser@local.tld\nnewcomer@local.tld\n")
    mx.until(lambda: all_say("newcomer@local.tld", "250"), what="newcomer")
    replace(mx.recipients, f"{mx.recipients.read_text()}third@local.tld\nno address at all\n")
    refused = mx.until(lambda: mx.logged("directory-refused"), what="word about the mistake")
    assert "4" in refused[0]["detail"]
    assert str(mx.recipients) in refused[0]["detail"]
    assert all_say("newcomer@local.tld", "250")
    assert all_say("third@local.tld", "550 5.1.1")
    replace(mx.recipients, "# nobody of before\nthird@local.tld\n")
    mx.until(lambda: all_say("third@local.tld", "250"), what="third")
    assert all_say("newcomer@local.tld", "550 5.1.1")
    assert len(mx.logged("directory-refused")) == 1
    replace(mx.recipients, "x@local.tld\n")
    mx.until(lambda: mx.logged("directory-waits"), what="word about the half that is gone")
    assert all_say("third@local.tld", "250")


def test_no_usable_recipient_file_at_all_refuses_to_start(server):
    """A damaged snapshot of an earlier run is no directory: everybody would be told 451, and nobody why."""
    mx = server(start=False)
    snapshot = mx.directory / "spool" / "directory.snapshot"
    snapshot.parent.mkdir()
    snapshot.write_bytes(b"torn")
    mx.recipients.write_text("not an address\n")
    mx.start(wait=False)
    mx.until(mx.exited, what="end of the server")
    assert mx.process.returncode == 1
    assert any("line 1" in line["detail"] for line in mx.logged("directory-refused"))
