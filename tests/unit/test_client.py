"""The client machine as Python sees it; its dialogues are tested in rust/machine/smtp/client/tests.rs."""

import pytest

from mailmoat._native import Client, ClientStep, Message, Outcome, RecipientState, TimeLimit

OFFERS = b"250-hop\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250 8BITMIME\r\n"


def message(content=b"Subject: a\r\n\r\n.b\r\n", recipients=("x@b.example", "y@b.example"), **more):
    return Message(
        queue_id="a1",
        arrival=0,
        reverse_path="s@a.example",
        recipients=list(recipients),
        content=content,
        trace=b"Received: x\r\n",
        **more,
    )


def ready(offers=OFFERS, *, lmtp=False):
    client = Client("me.example", lmtp=lmtp)
    assert (client.step, client.time_limit) == (ClientStep.WAIT, TimeLimit.GREETING)
    assert client.receive(b"220 hop\r\n") is ClientStep.WAIT
    assert client.output() == (b"LHLO me.example\r\n" if lmtp else b"EHLO me.example\r\n")
    assert client.receive(offers) is ClientStep.READY
    return client


def test_steps_are_distinct():
    assert [ClientStep.WAIT, ClientStep.READY, ClientStep.DONE, ClientStep.CLOSED, ClientStep.MORE] == [0, 1, 2, 3, 4]


def test_a_transaction():
    client = ready()
    assert client.begin(message(), [1]) is ClientStep.WAIT
    assert client.output() == b"MAIL FROM:<s@a.example> SIZE=31\r\nRCPT TO:<y@b.example>\r\nDATA\r\n"
    assert client.time_limit == TimeLimit.MAIL
    assert client.receive(b"250 ok\r\n250 ok\r\n354 go\r\n") is ClientStep.WAIT
    assert client.output() == b"Received: x\r\nSubject: a\r\n\r\n..b\r\n.\r\n"
    assert client.time_limit == TimeLimit.END_OF_DATA
    assert client.receive(b"250 2.0.0 queued\r\n") is ClientStep.DONE
    assert client.outcomes() == [Outcome(1, RecipientState.DELIVERED, "250 2.0.0 queued")]
    assert client.outcomes() == []
    assert client.quit() is ClientStep.WAIT
    assert client.output() == b"QUIT\r\n"
    assert client.receive(b"221 bye\r\n") is ClientStep.CLOSED


def test_lmtp():
    client = ready(lmtp=True)
    client.begin(message(), [0, 1])
    client.output()
    client.receive(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    client.output()
    assert client.receive(b"250 in\r\n552 full\r\n") is ClientStep.DONE
    assert client.outcomes() == [
        Outcome(0, RecipientState.DELIVERED, "250 in"),
        Outcome(1, RecipientState.FAILED, "552 full"),
    ]


def test_what_cannot_be_sent_is_told_at_once():
    client = ready(b"250 hop\r\n")
    assert client.begin(message("ä\r\n".encode()), [0]) is ClientStep.DONE
    [outcome] = client.outcomes()
    assert (outcome.index, outcome.state, outcome.reply[:10]) == (0, RecipientState.FAILED, "550 5.6.3 ")
    assert client.output() == b""


def test_loss_defers_and_a_refused_greeting_is_kept():
    client = ready()
    client.begin(message(), [0])
    assert client.end("Timed out") is ClientStep.CLOSED
    assert client.untouched
    assert client.outcomes() == [
        Outcome(0, RecipientState.PENDING, "421 4.4.2 Timed out waiting for the reply to MAIL")
    ]
    assert client.refusal is None
    client = Client("me.example")
    assert client.receive(b"554 no service\r\n") is ClientStep.CLOSED
    assert client.refusal == (RecipientState.PENDING, "554 no service")
    assert client.output() == b"QUIT\r\n"


def test_callers_mistakes():
    with pytest.raises(ValueError, match="HELO name"):
        Client("me.example\r\nRSET")
    client = Client("me.example")
    with pytest.raises(ValueError, match="not ready"):
        client.begin(message(), [0])
    client = ready()
    with pytest.raises(ValueError, match="no such recipient"):
        client.begin(message(), [2])
    assert client.begin(message(), [0]) is ClientStep.WAIT
