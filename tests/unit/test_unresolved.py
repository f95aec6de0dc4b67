"""Where recipients go that the directory does not have."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tests.doubles.directory import FakeDirectory

from mailmoat._native import Message, RecipientState
from mailmoat.delivery.route import route_table
from mailmoat.delivery.router import RoutingRouter
from mailmoat.delivery.unresolved import with_unresolved
from mailmoat.settings import Settings

HUB, OTHER = "smtp://hub.test:25", "smtp://other.test:25"


def opened(name, route, domain, *, tls_optional):
    return SimpleNamespace(name=name, route=route, domain=domain, tls_optional=tls_optional)


def recipient_at(address, fixed=""):
    return SimpleNamespace(address=address, state=RecipientState.PENDING, reply="", next_hop="", next_hop_fixed=fixed)


@pytest.fixture
def router():
    settings = Settings(
        hostname="mx.example.test",
        relay={"local_domains": ["example.test"]},
        delivery={"next_hop": HUB},
        ndr={"unresolved_next_hop": OTHER},
    )
    return with_unresolved(RoutingRouter(route_table(settings), opened), opened, settings, FakeDirectory())


@pytest.fixture
def find(router):
    def name_of(address, fixed=""):
        message = Message(queue_id="q1", arrival=0, reverse_path="", recipients=[address], content=b"\r\n")
        return router(recipient_at(address, fixed), message).name

    return name_of


def test_one_that_the_directory_does_not_have_goes_to_the_other_host(find):
    assert find("nobody@example.test") == f"unresolved {OTHER}"
    assert find("postmaster@example.test") == find("x@elsewhere.test") == HUB


def test_one_that_an_administrator_has_redirected_goes_there(find):
    assert find("nobody@example.test", fixed="smtp://third.test") == "smtp://third.test:25"


class Kept:
    """A message that counts how often its octets are read."""

    def __init__(self, queue_id, octets):
        self.queue_id, self._octets, self.reads = queue_id, octets, 0

    def octets(self):
        self.reads += 1
        return self._octets


def test_the_trace_of_a_message_is_read_once_for_all_its_recipients(router):
    ours = b"Received: from a\r\n\tby mx.example.test with SMTP\r\n"
    once, twice = Kept("q1", ours + b"\r\n"), Kept("q2", ours * 2 + b"\r\n")
    for message, expected in ((once, f"unresolved {OTHER}"), (twice, HUB), (once, f"unresolved {OTHER}")):
        found = {router(recipient_at(f"nobody{each}@example.test"), message).name for each in range(3)}
        assert found == {expected}
    assert (once.reads, twice.reads) == (2, 1)
