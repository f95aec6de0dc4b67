"""Whether the next hop is this very server."""

from __future__ import annotations

import socket

import pytest

from mailmoat.settings import Settings
from mailmoat.supervisor.own_address import loops


def own_address() -> str:
    """An address of this machine that is not loopback where it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return probe.getsockname()[0]


@pytest.mark.parametrize(
    ("listen", "hop", "is_self"),
    [
        ("127.0.0.1:25", "smtp://127.0.0.1:25", True),
        ("127.0.0.1:25", "smtp://127.0.0.1", True),
        ("127.0.0.1:25", "smtp://0.0.0.0:25", True),
        ("127.0.0.1:25", "smtp://localhost:25", True),
        ("0.0.0.0:25", "smtp://[::ffff:127.0.0.1]:25", True),
        ("0.0.0.0:2525, [::]:2525", "lmtp://127.0.0.9:2525", True),
        ("0.0.0.0:25", f"smtp://{own_address()}:25", True),
        ("proxy://127.0.0.1:25", "smtp://127.0.0.1:25", True),
        ("127.0.0.1:25", "smtp://127.0.0.1:26", False),
        ("127.0.0.1:25", "smtp://127.0.0.2:25", False),
        ("0.0.0.0:25", "smtp://192.0.2.7:25", False),
        ("[::1]:25", "smtp://127.0.0.1:25", False),
        ("0.0.0.0:25", "smtp://no-such-host.invalid:25", False),
        ("0.0.0.0:25", "discard:", False),
    ],
)
def test_the_next_hop_is_this_server(listen, hop, is_self):
    settings = Settings(
        listen=listen, listen_proxy_networks="127.0.0.0/8", hostname="mx.example.test", delivery={"next_hop": hop}
    )
    assert len(loops(settings)) == is_self
    assert all("delivery.next_hop" in sentence and "; write " in sentence for sentence in loops(settings))
