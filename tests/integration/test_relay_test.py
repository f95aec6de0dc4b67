"""`mailmoat relay-test` against scripted servers on 127.0.0.1: an open relay, strict ones, a slow one, a narrow one."""

from __future__ import annotations

import json
import re
import time

import pytest
import typer
from tests.doubles.next_hop import NextHop
from tests.integration.conftest import free_port
from typer.testing import CliRunner

from mailmoat.cli import relay_dialogue
from mailmoat.cli.relay_probes import ACCEPTED_NOTE, Expect, Ground, Outcome, Reply, Result, judge, make_probes
from mailmoat.cli.relay_test import relay_test

GROUND = Ground("local.test", "remote.tld", "remote.tld", "mx.local.test", "192.0.2.1", "nobody@local.test")

app = typer.Typer()
app.command()(relay_test)
runner = CliRunner()


EHLO = "250-mx.local.test hello\n250-SMTPUTF8\n250 PIPELINING"


def serving(rcpt, *, greeting="220 mx.local.test ready", hold=0.0, most=1000):
    """A server: `rcpt` gives the reply for the argument of RCPT TO; what it refuses is held for `hold` seconds."""

    def greet(_):
        return "421 4.3.2 too many connections" if made.open > most else greeting

    def answer(line):
        reply = rcpt(line[8:])
        if reply.startswith("5"):
            time.sleep(hold)
        return reply

    made = NextHop(greeting=greet, EHLO=EHLO, RCPT=answer)
    return made


def run(server, *arguments):
    with server:
        result = runner.invoke(app, [f"127.0.0.1:{server.port}", "--json", *arguments])
    return result.exit_code, json.loads(result.stdout) if result.stdout else None, result.stderr


def domain_of(recipient):
    return recipient.strip(" <>").rpartition("@")[2].lower().rstrip(".") if "@" in recipient else "local.test"


def strict(recipient):
    if recipient.strip(" <>").endswith('"') or domain_of(recipient) == "local.test":
        return "550 5.1.1 User unknown"
    return "550 5.7.1 Unable to relay"


def accepting_local(recipient):
    if recipient.strip(" <>").endswith('"') or domain_of(recipient) == "local.test":
        address = recipient.strip(" <>")
        return f"250 2.1.5 {address if '@local.test' in address else address + '@local.test'}"
    return "550 5.7.1 Unable to relay"


def percent_hack(recipient):
    """Strict, but a `%` reroutes."""
    if found := re.fullmatch(r" ?<?([^%\"!]+)%([^@%]+)(@local\.test)?>?", recipient):
        return f"250 2.1.5 <{found[1]}@{found[2]}> ok"
    return strict(recipient)


def verdicts(document):
    return {probe["name"]: probe["verdict"] for probe in document["probes"]}


def test_a_strict_server_passes_and_gets_no_data():
    server = serving(strict)
    code, document, _ = run(server, "--local-domain", "local.test", "--remote-domain", "remote.tld")
    assert (code, set(verdicts(document).values())) == (0, {"pass"})
    assert {line[:4] for line in server.commands} == {"EHLO", "RSET", "MAIL", "RCPT", "QUIT"}
    assert document["probes"][-1]["note"] == "unknown recipients are refused"
    assert document["probes"][0]["reply"] == "550 5.7.1 Unable to relay"
    assert 8 <= server.peak <= 16


def test_of_the_documented_server_without_lookup_nothing_is_proved_about_what_it_accepts():
    code, document, _ = run(
        serving(accepting_local), "--recipient", "nobody@local.test", "--remote-domain", "remote.tld"
    )
    assert (code, document["local_domain"], document["results"]["fail"]) == (1, "local.test", 0)
    sixth, seventh = document["probes"][5:7]
    assert sixth["reply"] == "250 2.1.5 someone%remote.tld@local.test"
    assert seventh["reply"] == '250 2.1.5 "someone@remote.tld"@local.test'
    assert sixth["verdict"] == seventh["verdict"] == "inconclusive"
    assert sixth["note"] == seventh["note"] == ACCEPTED_NOTE


def test_the_table_says_what_to_do_about_what_was_accepted():
    with serving(accepting_local) as made:
        result = runner.invoke(app, [f"127.0.0.1:{made.port}", "--local-domain", "local.test"])
    assert result.exit_code == 1
    assert "Inconclusive: #6 percent sign, #7 quoted address, " in result.stdout
    assert "send a message to one of them and look whether a report comes back" in result.stdout
    assert "longer --timeout" not in result.stdout


def test_a_reply_that_shows_the_route_dropped_is_a_pass():
    def dropping(recipient):
        return "250 2.1.5 someone@local.test" if recipient.startswith("<@remote.tld:") else strict(recipient)

    def open_to_local(recipient):
        return dropping(recipient) if ":" in recipient else accepting_local(recipient)

    _, document, _ = run(serving(open_to_local), "--local-domain", "local.test", "--remote-domain", "remote.tld")
    assert verdicts(document)["source route, local end"] == "pass"


def test_an_open_relay_fails_every_remote_recipient():
    code, document, _ = run(serving(lambda _: "250 2.1.5 ok"), "--local-domain", "local.test")
    assert code == 1
    failed = {number for number, probe in enumerate(document["probes"], 1) if probe["verdict"] == "fail"}
    assert {1, 2, 3, 4, 5} <= failed
    assert {6, 7}.isdisjoint(failed)
    assert verdicts(document)["percent sign"] == "inconclusive"


def test_a_percent_hack_is_found_by_what_the_reply_shows():
    code, document, _ = run(serving(percent_hack), "--local-domain", "local.test", "--remote-domain", "remote.tld")
    failed = {name for name, verdict in verdicts(document).items() if verdict == "fail"}
    assert code == 1
    assert {"percent sign", "percent sign at local domain", "percent sign, null sender"} <= failed
    assert {"remote sender", "quoted address", "bang path"}.isdisjoint(failed)


def test_taking_only_a_disguised_address_is_a_failure():
    def bang(recipient):
        return "250 2.1.5 ok" if "!" in recipient and domain_of(recipient) == "local.test" else strict(recipient)

    _, document, _ = run(serving(bang), "--local-domain", "local.test")
    assert verdicts(document)["bang path at local domain"] == "fail"
    assert verdicts(document)["percent sign at local domain"] == "pass"


def test_a_tarpit_costs_about_one_delay_not_one_a_probe(monkeypatch):
    monkeypatch.setattr(relay_dialogue, "PATIENCE", 0.1)
    server = serving(strict, hold=1.0)
    code, document, _ = run(server, "--local-domain", "local.test")
    assert code == 0
    assert all(probe["seconds"] >= 0.9 for probe in document["probes"])
    # Side by side and not one after the other: what costs one delay each costs one in sum.
    assert 16 < server.peak <= relay_dialogue.CONNECTIONS_HELD


def test_a_server_that_turns_connections_away_is_asked_again():
    code, document, _ = run(serving(strict, most=5), "--local-domain", "local.test")
    assert (code, document["results"]["inconclusive"]) == (0, 0)


def test_a_silent_rcpt_is_inconclusive_and_exit_1():
    def closing(recipient):
        return "421 4.7.0 enough" if "%" in recipient else strict(recipient)

    code, document, _ = run(serving(closing), "--local-domain", "local.test")
    assert code == 1
    assert verdicts(document)["percent sign"] == "inconclusive"
    assert verdicts(document)["remote sender"] == "pass"


@pytest.mark.parametrize("verb", ["mail", "rcpt"])
def test_a_server_that_wants_tls_first_proves_nothing(verb):
    refusal, ok = Reply(530, "5.7.0 Must issue a STARTTLS command first", 0), Reply(250, "ok", 0)
    replies = {"mail": refusal} if verb == "mail" else {"mail": ok, "rcpt": refusal}
    outcomes = [Outcome(probe, **replies) for probe in make_probes(GROUND)[:-1]]
    assert {one.result for one in judge(outcomes, GROUND)} == {Result.INCONCLUSIVE}


def test_nobody_can_relay_where_authentication_is_required(server):
    submission, submissions = free_port(), free_port()
    mx = server(start=False, MAILMOAT_TARPIT__TIME="0")
    mx.environment["MAILMOAT_LISTEN"] += f", submission://127.0.0.1:{submission}, submissions://127.0.0.1:{submissions}"
    mx.start()
    for port, options in ((submission, ()), (submissions, ("--implicit",))):
        done = mx.cli(
            "relay-test", f"127.0.0.1:{port}", "--local-domain", "example.test", "--json", *options, check=True
        )
        document = json.loads(done.stdout)
        assert {probe["verdict"] for probe in document["probes"]} == {"pass"}
        assert {probe["reply"] for probe in document["probes"]} == {"530 5.7.0 Authentication required"}
    done = mx.cli("relay-test", f"127.0.0.1:{mx.port}", "--implicit")
    assert (done.returncode, "the TLS handshake failed: " in done.stderr) == (2, True)


@pytest.mark.parametrize(("code", "result"), [(550, Result.PASS), (450, Result.INCONCLUSIVE)])
def test_a_refused_sender(code, result):
    outcomes = [Outcome(probe, mail=Reply(code, "5.1.8 no", 0)) for probe in make_probes(GROUND)]
    assert {one.result for one in judge(outcomes, GROUND)} == {result}


@pytest.mark.parametrize("columns", ["20", "80", "300"])
def test_the_text_names_what_failed_and_what_it_means_at_any_width(columns):
    with serving(lambda _: "250 2.1.5 \x1b[2Jok") as made:
        words = [f"127.0.0.1:{made.port}", "--sender-domain", "stranger.tld"]
        result = runner.invoke(app, words, env={"COLUMNS": columns})
    assert result.exit_code == 1
    assert "Local domain mx.local.test (the name the server gives itself), remote domain example.org." in result.stdout
    assert "Failed: #1 remote sender, #2 sender without domain" in result.stdout
    assert "Strangers can send mail through this server to anybody" in result.stdout
    assert "    MAIL FROM:<user@stranger.tld> RCPT TO:<" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("greeting", ["554 5.7.1 go away", "HTTP/1.1 400 Bad Request", "421 4.3.2 busy"])
def test_a_server_that_does_not_talk_is_exit_2(greeting):
    code, document, complaint = run(serving(strict, greeting=greeting))
    assert (code, document) == (2, None)
    assert complaint.startswith("relay-test: cannot talk SMTP with 127.0.0.1")


def test_a_server_that_is_not_there_is_named_without_a_tuple():
    result = runner.invoke(app, ["127.0.0.1:1"])
    assert result.exit_code == 2
    assert result.stderr == "relay-test: cannot talk SMTP with 127.0.0.1 port 1: Connection refused\n"


@pytest.mark.parametrize(
    "arguments",
    [["127.0.0.1:0"], ["127.0.0.1:x"], ["[::1"], [":25"], ["127.0.0.1:1", "--remote-domain", "a b"], []],
)
def test_wrong_usage_is_exit_2(arguments):
    assert runner.invoke(app, arguments).exit_code == 2


def test_the_first_seven_are_the_documents():
    documented = [(probe.sender, probe.recipient) for probe in make_probes(GROUND)[:7]]
    remote = "<someone@remote.tld>"
    assert documented == [
        ("<user@remote.tld>", remote),
        ("<localuser>", remote),
        ("<>", remote),
        ("<localuser@local.test>", remote),
        ("<localuser@[192.0.2.1]>", remote),
        ("<localuser>", "<someone%remote.tld>"),
        ("<localuser>", '<"someone@remote.tld">'),
    ]


@pytest.mark.parametrize(
    "text", ["<someone@remote.tld>... ok", "someone@REMOTE.tld", "rerouted to someone@remote.tld."]
)
@pytest.mark.parametrize("expect", [Expect.LOCAL, Expect.REFUSED])
def test_a_reply_that_shows_the_remote_address_fails(text, expect):
    probes = [probe for probe in make_probes(GROUND) if probe.expect is expect]
    outcomes = [Outcome(probe, Reply(250, "ok", 0), Reply(250, text, 0)) for probe in probes]
    assert {one.result for one in judge(outcomes, GROUND)} == {Result.FAIL}


def test_a_reply_that_echoes_what_was_sent_shows_nothing():
    probes = [probe for probe in make_probes(GROUND) if probe.expect is Expect.LOCAL]
    for text in ("{sent}", "2.1.5 {sent}@local.test", "2.1.5 <{sent}> ok"):
        sent = [(probe, text.format(sent=probe.recipient.strip("<>"))) for probe in probes]
        outcomes = [Outcome(probe, Reply(250, "ok", 0), Reply(250, echo, 0)) for probe, echo in sent]
        assert {one.result for one in judge(outcomes, GROUND)} == {Result.INCONCLUSIVE}
