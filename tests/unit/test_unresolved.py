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


@pytest.fixture
def find():
    settings = Settings(
        hostname="mx.example.test",
        relay={"local_domains": ["example.test"]},
        delivery={"next_hop": HUB},
        ndr={"unresolved_next_hop": OTHER},
    )
    router = with_unresolved(RoutingRouter(route_table(settings), opened), opened, settings, FakeDirectory())

    def name_of(address, fixed=""):
        message = Message(queue_id="q1", arrival=0, reverse_path="", recipients=[address], content=b"\r\n")
        recipient = SimpleNamespace(
            address=address, state=RecipientState.PENDING, reply="", next_hop="", next_hop_fixed=fixed
        )
        return router(recipient, message).name

    return name_of


def test_one_that_the_directory_does_not_have_goes_to_the_other_host(find):
    assert find("nobody@example.test") == f"unresolved {OTHER}"
    assert find("postmaster@example.test") == find("x@elsewhere.test") == HUB


def test_one_that_an_administrator_has_redirected_goes_there(find):
    assert find("nobody@example.test", fixed="smtp://third.test") == "smtp://third.test:25"
