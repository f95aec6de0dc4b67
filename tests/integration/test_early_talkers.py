"""Clients that talk before the greeting (RFC 5321 3.1): noted, refused or let be, never a client that waits."""

from __future__ import annotations

import pytest

HASTY = b"EHLO hasty.test\r\nQUIT\r\n"


def hasty(mx, **options):
    """A client whose octets are there before the worker accepts it."""
    with mx.stopped():
        client = mx.client(hello="", greeted=False, **options)
        client.raw(HASTY)
    return client


@pytest.fixture
def worker(server):
    """A server of one worker, which can be stopped for a moment so that it is late."""

    def make(choice: str, **environment: str):
        return server(MAILMOAT_WORKERS="1", MAILMOAT_SMTP__EARLY_TALKERS=choice, **environment)

    return make


def test_an_early_talker_is_noted_and_served(worker):
    mx = worker("note")
    client = hasty(mx)
    assert client.codes(3) == [220, 250, 221]
    noted = mx.until(lambda: mx.logged("early-talker"), what="a note")
    assert [(line["client"], line["refused"]) for line in noted] == [("127.0.0.1", False)]
    patient = mx.client()
    assert patient.deliver()[:3] == "250"
    assert mx.metric("early_talkers_total") == 1


def test_an_early_talker_is_refused(worker):
    mx = worker("refuse")
    client = hasty(mx)
    assert client.reply() == "421 mx.example.test You talked before the greeting"
    assert client.reply() == ""
    assert mx.client().deliver()[:3] == "250"


@pytest.mark.parametrize(("choice", "networks"), [("off", ""), ("refuse", "127.0.0.1")])
def test_an_early_talker_is_let_be(worker, choice, networks):
    mx = worker(choice, MAILMOAT_RELAY__NETWORKS=networks)
    assert hasty(mx).codes(3) == [220, 250, 221]
    assert mx.metric("early_talkers_total") == 0
