"""A scheme that is not what is spoken at its port is warned about, with the one that is meant."""

from __future__ import annotations

import pytest

from mailmoat.settings import Settings
from mailmoat.settings.port_lint import port_warnings


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("0.0.0.0:465", "submissions://0.0.0.0:465"),
        ("submission://[::]:465", "submissions://[::]:465"),
        ("0.0.0.0:587", "submission://0.0.0.0:587"),
        ("smtps://0.0.0.0:587", "submission://0.0.0.0:587"),
        ("submissions://0.0.0.0:587", "submission://0.0.0.0:587"),
        ("smtps://0.0.0.0:25", "0.0.0.0:25"),
        ("submission://0.0.0.0:25", "0.0.0.0:25"),
    ],
)
def test_a_listener_is_warned_about(written, meant):
    (warning,) = port_warnings(Settings(listen=written))
    assert warning.startswith(f"listen has {written}: ")
    assert warning.endswith(f"; write {meant}")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("smtp://hub.test:465", "; write smtps://hub.test:465"),
        ("smtp://a.test, smtps://hub.test:587", "; write smtp://hub.test:587, which uses STARTTLS"),
        ("smtps://hub.test:25", "; write smtp://hub.test:25, which uses STARTTLS"),
    ],
)
def test_a_next_hop_is_warned_about(written, meant):
    (warning,) = port_warnings(Settings(delivery={"next_hop": written}))
    assert warning.startswith("delivery.next_hop has ")
    assert warning.endswith(meant)
    (warning,) = port_warnings(Settings(routes=[{"domains": "a.test", "next_hop": written}]))
    assert warning.startswith("routes[1].next_hop has ")


def test_what_is_usual_is_not_warned_about():
    usual = "0.0.0.0:25, submission://0.0.0.0:587, submissions://0.0.0.0:465, smtps://[::]:465, 127.0.0.1:2525, proxy://10.0.0.1:465"
    hops = "smtp://a.test | smtp://b.test:587, smtps://c.test, smtps://d.test:2465, lmtp://e.test:25"
    settings = Settings(listen=usual, listen_proxy_networks="10.0.0.9", delivery={"next_hop": hops})
    assert list(port_warnings(settings)) == []
