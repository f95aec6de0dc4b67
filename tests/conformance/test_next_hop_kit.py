"""What the tests' next hop and their client promise, held against real ones: smtp-sink as the other next hop, smtplib as the other client."""

from __future__ import annotations

import re
import smtplib

import pytest
from tests.doubles.client import Client, UnexpectedReplyError
from tests.doubles.next_hop import NextHop
from tests.integration.conftest import wait_for
from tests.smtp_sink import SmtpSink

CONTENT = b"Message-ID: <one@client.test>\r\n\r\nbody\r\n.\r\n..two\r\ncaf\xc3\xa9\r\n"
ENVELOPE = ("MAIL FROM:<s@client.test>", "RCPT TO:<a@hop.test>", "RCPT TO:<b@hop.test>")


class Sink(SmtpSink):
    def taken(self) -> list[tuple[str, list[str], bytes]]:
        found = []
        for octets in (written.replace(b"\r\n", b"\n") for written in self.messages()):
            sender = re.search(rb"(?m)^X-Mail-Args: <(.*)>", octets)
            recipients = re.findall(rb"(?m)^X-Rcpt-Args: <(.*)>", octets)
            content = octets[octets.index(b"Message-ID") :].removesuffix(b"\n")
            found.append((sender[1].decode(), [path.decode() for path in recipients], content))
        return found


class Double(NextHop):
    def taken(self) -> list[tuple[str, list[str], bytes]]:
        return [(each.sender, each.recipients, each.content.replace(b"\r\n", b"\n")) for each in self.messages]


@pytest.fixture(params=["the tests' own", "smtp-sink"])
def hops(request, tmp_path):
    """Makes next hops; `fails` names the stage that is refused for good."""

    def make(*, lmtp: bool = False, fails: str = "") -> Sink | Double:
        if request.param == "smtp-sink":
            return Sink(*(["-L"] if lmtp else []), *(["-f", fails] if fails else []), directory=tmp_path / "taken")
        return Double(lmtp=lmtp, **({fails.upper(): "500 5.3.0 no"} if fails else {}))

    return make


def connect(hop, hello: str = "EHLO client.test") -> Client:
    """A client that was greeted."""
    client = Client(hop.port)
    assert client.greeting.code == 220
    client.expect(hello, 250)
    return client


@pytest.mark.parametrize("together", [False, True])
def test_the_replies_of_a_transaction(hops, together):
    lines = (*ENVELOPE, "DATA")
    with hops() as hop, connect(hop) as client:
        for _ in range(2):
            if together:
                client.send(*lines)
            codes = client.codes(4) if together else [client.ask(line).code for line in lines]
            assert codes == [250, 250, 250, 354]
            client.raw(CONTENT.replace(b"\r\n.", b"\r\n..") + b".\r\n")
            assert client.reply().code == 250
        assert [client.ask(line).code for line in ("NOOP", "RSET", "QUIT")] == [250, 250, 221]
        assert client.closed()
        wait_for(lambda: len(hop.taken()) == 2, what="messages")
        assert hop.taken() == [("s@client.test", ["a@hop.test", "b@hop.test"], CONTENT.replace(b"\r\n", b"\n"))] * 2


@pytest.mark.parametrize("line", ["RCPT TO:<a@hop.test>", "DATA", "XYZZY"])
def test_what_is_out_of_order_or_unknown_is_refused(hops, line):
    with hops() as hop, connect(hop) as client:
        assert 500 <= client.ask(line).code <= 503
        client.expect("MAIL FROM:<s@client.test>", 250)
        client.expect("RSET", 250)
        assert client.ask("DATA").code == 503
        client.expect("NOOP", 250)


@pytest.mark.parametrize(
    ("fails", "codes"), [("mail", [500, 503, 503]), ("rcpt", [250, 500, 503]), ("data", [250, 250, 500])]
)
def test_a_refusal_ends_nothing(hops, fails, codes):
    with hops(fails=fails) as hop, connect(hop) as client:
        for _ in range(2):
            client.send("MAIL FROM:<s@client.test>", "RCPT TO:<a@hop.test>", "DATA")
            assert client.codes(3) == codes
            client.expect("RSET", 250)
        assert hop.taken() == []


def test_lmtp_answers_the_end_of_data_for_each_recipient(hops):
    with hops(lmtp=True) as hop, connect(hop, "LHLO client.test") as client:
        for line in (*ENVELOPE, "RCPT TO:<c@hop.test>"):
            client.expect(line, 250)
        assert client.content(CONTENT.replace(b"\r\n.", b"\r\n..")).code == 250
        assert client.codes(2) == [250, 250]
        client.expect("QUIT", 221)


def test_bare_line_feeds_end_no_content():
    """They are octets of it, as in the product (smtp-sink takes them for line ends)."""
    with Double() as hop, connect(hop) as client:
        client.envelope("a@hop.test")
        client.expect("DATA", 354)
        client.raw(b"Message-ID: <a@b>\r\n\r\na\n.\nb\r\n.\n\r\n.\r\n")
        assert client.reply().code == 250
        assert hop.messages[0].stuffed == b"Message-ID: <a@b>\r\n\r\na\n.\nb\r\n.\n\r\n"


def test_rules_by_turn_by_function_and_for_a_while():
    with Double(MAIL=["451 4.3.0 later", "250 ok"], RCPT=lambda line: "550 no" if "bad" in line else "250 ok") as hop:
        with connect(hop) as client:
            assert [client.ask("MAIL FROM:<>").code for _ in range(3)] == [451, 250, 250]
            assert [client.ask(f"RCPT TO:<{name}@hop.test>").code for name in ("bad", "good")] == [550, 250]
        with hop.script(greeting="421 busy"), Client(hop.port) as client:
            assert client.greeting == "421 busy"
        with hop.script(NOOP="", RSET=None), connect(hop) as client:
            assert client.ask("NOOP") == ""
            with connect(hop) as other:
                other.send("RSET")
                assert other.silent(0.05)
        hop.stop()
        with pytest.raises(ConnectionRefusedError):
            Client(hop.port)


# --- the client ---


class Smtplib(smtplib.SMTP):
    """smtplib as the kit asks it."""

    def codes_of(self, recipients: list[str], content: bytes) -> list[int]:
        codes = [self.mail("s@client.test")[0], *(self.rcpt(recipient)[0] for recipient in recipients)]
        try:
            codes.append(self.data(content)[0])
        except smtplib.SMTPDataError as error:
            codes.append(error.smtp_code)
        return codes


class Own(Client):
    def codes_of(self, recipients: list[str], content: bytes) -> list[int]:
        codes = [
            self.ask(line).code for line in ("MAIL FROM:<s@client.test>", *(f"RCPT TO:<{each}>" for each in recipients))
        ]
        reply = self.ask("DATA")
        if reply.code == 354:
            self.raw(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
            reply = self.reply()
        return [*codes, reply.code]


@pytest.fixture(params=["the tests' own", "smtplib"])
def client(request):
    """Makes clients that have said EHLO."""

    def make(port: int) -> Own | Smtplib:
        if request.param == "the tests' own":
            return Own(port, hello="EHLO client.test")
        made = Smtplib("127.0.0.1", port, local_hostname="client.test", timeout=20)
        made.ehlo()
        return made

    return make


@pytest.mark.parametrize(
    ("rules", "codes"),
    [
        ({}, [250, 250, 250, 250]),
        ({"RCPT": lambda line: "550 no" if "b@" in line else "250 ok"}, [250, 250, 550, 250]),
        ({"DATA": "451 4.3.0 later"}, [250, 250, 250, 451]),
        ({"end": "554-no\n554-and\n554 no again"}, [250, 250, 250, 554]),
    ],
)
def test_client(client, rules, codes):
    with Double(**rules) as hop, client(hop.port) as talking:
        assert talking.codes_of(["a@hop.test", "b@hop.test"], CONTENT) == codes
        assert [message.content for message in hop.contents] == [CONTENT] * (codes[-1] in (250, 554))


@pytest.mark.parametrize(
    "reply", ["99 x", "250", "2500 x", "250-a\n251 b", "250-a\n\n250 b", "\x16\x03", "250 caf\u00e9"]
)
def test_the_client_takes_no_reply_out_of_form(reply):
    with Double(NOOP=reply) as hop, connect(hop) as client, pytest.raises(AssertionError):
        client.ask("NOOP")


def test_the_client_says_what_came_instead():
    with Double(NOOP=["450 4.2.0 no", "", "250 ok"]) as hop, connect(hop) as client:
        with pytest.raises(UnexpectedReplyError, match=r"450 4\.2\.0 no"):
            client.expect("NOOP", 250)
        with pytest.raises(UnexpectedReplyError, match="closed by the server"):
            client.expect("NOOP", 250)
        assert client.closed()


def test_a_reply_in_its_parts():
    with Double(NOOP="250-2.0.0 one\n250-two\n250 three") as hop, connect(hop) as client:
        reply = client.ask("NOOP")
        assert (reply, reply.code, reply.enhanced) == ("250-2.0.0 one\n250-two\n250 three", 250, "2.0.0")
        assert reply.lines == ("2.0.0 one", "two", "three")
        assert reply.text == "2.0.0 one\ntwo\nthree"
