"""What is asked of TLS at a destination, by the settings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mailmoat._native import Client
from mailmoat.delivery.handshake import Handshakes
from mailmoat.delivery.tls_policy import TlsLevel, tls_optional_policy, tls_policy
from mailmoat.settings.next_hop import parse_server
from mailmoat.settings.tree import DeliverySettings


@pytest.mark.parametrize(
    "host", ["hub.test", "mail_hub", "bücher.test", "192.0.2.1", "[2001:db8::1]", "[fe80::1%eth0]"]
)
def test_a_handshake_can_begin_with_whatever_can_be_a_next_hop(host):
    """The zone of an address means something to this machine alone (RFC 4007 11)."""
    handshakes = Handshakes(tls_policy(parse_server(f"smtp://{host}:25"), DeliverySettings()))
    handshakes.prepare()
    client = Client("c.test", tls="may")
    handshakes.begin(client)
    assert client.output()[:1] == b"\x16"


@pytest.mark.parametrize(
    ("next_hop", "level"), [("smtp://hub.test:25", TlsLevel.MAY), ("smtps://hub.test:465", TlsLevel.ENCRYPT)]
)
def test_where_tls_is_optional_it_is_used_where_it_works(next_hop, level):
    """RFC 8689 4.2.2; where TLS comes first there is nothing without it."""
    server, settings = parse_server(next_hop), DeliverySettings(tls="verify")
    assert tls_optional_policy(server, settings) == replace(tls_policy(server, settings), level=level)
