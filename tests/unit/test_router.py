"""Where recipients go: one next hop, routes of some domains, messages for which TLS is optional, destinations on demand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mailmoat._native import Message
from mailmoat.delivery.route import route_table
from mailmoat.delivery.router import RoutingRouter
from mailmoat.settings import Settings


def message(*recipients, tls_optional=False):
    return Message(
        queue_id="q1", arrival=0, reverse_path="", recipients=list(recipients), content=b"", tls_optional=tls_optional
    )


class World:
    """A router whose destinations are named only."""

    def __init__(self, *routes, **delivery):
        self.opened = []
        settings = Settings(hostname="mx.example.test", delivery=delivery, routes=list(routes))
        self.router = RoutingRouter(route_table(settings), self.open)

    def open(self, name, route, domain, *, tls_optional):
        self.opened.append(name)
        transport = SimpleNamespace(close=lambda: self.opened.append(f"closed {name}"))
        return SimpleNamespace(name=name, route=route, domain=domain, tls_optional=tls_optional, transport=transport)

    def destination(self, address, **more):
        made = message(address, **more)
        return self.router(made.recipients[0], made)

    def __call__(self, address, **more):
        found = self.destination(address, **more)
        return found and found.name

    @property
    def default(self):
        return self.router.default and self.router.default.name


def test_every_recipient_has_the_one_next_hop():
    w = World(next_hop="smtp://192.0.2.1:25")
    assert {w(address, tls_optional=True) for address in ("a@example.org", "b@example.test")} == {"smtp://192.0.2.1:25"}
    assert w.default == "smtp://192.0.2.1:25"
    assert w.opened == ["smtp://192.0.2.1:25"] == [one.name for one in w.router.destinations]


def test_without_a_next_hop_nobody_has_a_destination():
    w = World()
    assert w("a@example.org") is w.default is None
    assert w.router.destinations == ()


@pytest.mark.parametrize(
    ("next_hop", "settings", "differs"),
    [
        ("smtp://hub.test:25", {"tls": "encrypt"}, True),
        ("smtp://hub.test:25", {"tls": "verify"}, True),
        ("lmtp://hub.test:24", {"tls": "verify"}, True),
        ("smtps://hub.test:465", {"tls": "verify"}, True),
        ("smtps://hub.test:465", {"tls": "encrypt"}, False),
        ("smtps://hub.test:465, smtp://b.test", {"tls": "encrypt"}, True),
        ("smtp://hub.test:25", {"tls": "may"}, False),
        ("smtp://hub.test:25", {"tls": "none"}, False),
        ("smtp://hub.test:25", {"tls": "verify", "tls_optional": False}, False),
        ("smtp://hub.test:25", {"tls": "verify", "auth_name": "edge", "auth_password_file": "/p"}, False),
        ("lmtp:///run/lmtp", {"tls": "encrypt"}, False),
        ("maildir:/var/mail", {"tls": "encrypt"}, False),
        ("discard:", {"tls": "encrypt"}, False),
    ],
)
def test_messages_for_which_tls_is_optional_have_a_destination_of_their_own_where_it_is_required(
    next_hop, settings, differs
):
    """RFC 8689 4.2.2."""
    for w in (World(next_hop=next_hop, **settings), World({"domains": "*", "next_hop": next_hop} | settings)):
        usual = w("a@example.org")
        assert usual == str(w.destination("a@example.org").route.next_hop)
        assert w("a@example.org", tls_optional=True) == usual + " TLS optional" * differs
        assert len(w.router.destinations) == 1 + differs


ROUTES = (
    {"domains": "exact.test, .below.test", "next_hop": "smtp://first.test"},
    {"domains": "a.below.test, exact.test", "next_hop": "smtp://second.test"},
    {"domains": "only.a.below.test", "next_hop": "smtp://third.test"},
    {"domains": ".test", "next_hop": "lmtp:///run/lmtp"},
    {"domains": "below.org, xn--bcher-kva.org", "next_hop": "discard:"},
)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("x@exact.test", "smtp://first.test:25"),
        ("x@a.below.test", "smtp://first.test:25"),
        ("x@only.a.below.test", "smtp://first.test:25"),
        ("x@below.test", "lmtp:///run/lmtp"),
        ("x@not-below.test", "lmtp:///run/lmtp"),
        ("x@test", "smtp://default.test:25"),
        ("x@below.org", "discard:"),
        ("x@sub.below.org", "smtp://default.test:25"),
        ("x@xn--bcher-kva.org", "discard:"),
        ("x@[192.0.2.1]", "smtp://default.test:25"),
        ("postmaster", "smtp://default.test:25"),
        ('"x@exact.test"@below.org', "discard:"),
    ],
)
def test_the_first_route_that_has_the_domain_counts(address, name):
    w = World(*ROUTES, next_hop="smtp://default.test")
    assert w(address) == name
    assert w.default == "smtp://default.test:25"


def test_a_route_for_every_domain_hides_those_behind_it():
    w = World(ROUTES[0], {"domains": "*", "next_hop": "discard:"}, *ROUTES[1:], next_hop="smtp://default.test")
    found = {address: w(address) for address in ("x@exact.test", "x@below.test", "x@below.org")}
    assert found == {"x@exact.test": "smtp://first.test:25", "x@below.test": "discard:", "x@below.org": "discard:"}


def test_routes_to_one_next_hop_share_its_destination_unless_their_settings_differ():
    hop = "smtp://hub.test"
    w = World(
        {"domains": "a.test", "next_hop": hop},
        {"domains": "b.test", "next_hop": hop, "connections": 3},
        {"domains": "c.test", "next_hop": hop, "connections": 3},
        next_hop=hop,
    )
    name = "smtp://hub.test:25"
    assert [w(f"x@{domain}.test") for domain in "abcd"] == [name, f"{name} (b.test)", f"{name} (b.test)", name]
    assert [one.name for one in w.router.destinations] == [name, f"{name} (b.test)"]
    assert [one.route.connections for one in w.router.destinations] == [20, 3]
    assert [w.router.destination(one.name) for one in w.router.destinations] == list(w.router.destinations)


def test_what_a_route_does_not_set_is_as_in_delivery_but_for_account_and_names():
    given = {"tls": "verify", "tls_names": "hub.test", "auth_name": "edge", "auth_password_file": "/p", "retry": "7m"}
    w = World({"domains": "a.test", "next_hop": "smtp://h.test", "expire": "1d"}, next_hop="smtp://hub.test", **given)
    route = w.destination("x@a.test").route
    assert (route.name, route.retry, route.expire, route.delay_report) == ("a.test", (420.0,), 86400.0, 14400.0)
    ours = route.settings
    assert (ours.tls, ours.tls_names, ours.auth_name, ours.auth_password_file) == ("verify", (), None, None)
    assert w.destination("x@b.test").route.name == "default"


class TestRedirected:
    """What an administrator has sent elsewhere."""

    def find(self, w, hop, **more):
        made = message("x@b.test", **more)
        recipient = SimpleNamespace(address="x@b.test", next_hop_fixed=hop)
        found = w.router(recipient, made)
        return found and found.name

    def test_it_goes_there_whatever_the_routes_say(self):
        w = World({"domains": "b.test", "next_hop": "discard:"}, next_hop="smtp://hub.test")
        assert w("x@b.test") == "discard:"
        assert self.find(w, "smtp://other.test") == self.find(w, "smtp://other.test:25") == "smtp://other.test:25"
        assert self.find(w, "mx") == "mx b.test"
        assert self.find(w, "") == "discard:"
        assert w.opened == ["discard:", "smtp://hub.test:25", "smtp://other.test:25", "mx b.test"]

    def test_it_uses_the_destination_that_is_there_and_is_dropped_like_any(self):
        w = World(next_hop="smtp://hub.test")
        assert self.find(w, "smtp://hub.test:25") == w.default
        self.find(w, "smtp://other.test")
        w.router.drop(w.router.destinations[1])
        assert len(w.router.destinations) == 1

    def test_no_password_goes_there_and_tls_is_as_required(self):
        account = {"auth_name": "edge", "auth_password_file": "/p"}
        w = World(next_hop="smtp://hub.test", tls="verify", **account)
        assert self.find(w, "smtp://other.test", tls_optional=True) == "smtp://other.test:25 TLS optional"
        assert w.router.destinations[-1].route.settings.auth_name is None

    @pytest.mark.parametrize("hop", ["smtp://192.0.2.1", "nonsense"])
    def test_where_no_server_can_be_meant_it_waits(self, hop):
        assert self.find(World(next_hop="smtp://hub.test", tls="verify"), hop) is None


class TestByMx:
    def world(self, **more):
        return World({"domains": "a.test", "next_hop": "discard:"}, next_hop="mx", **more)

    def test_each_domain_has_a_destination_made_on_demand_and_dropped(self):
        w = self.world(tls_optional=False)
        assert (w.default, w.opened) == (None, ["discard:"])
        one = w.destination("x@b.test")
        assert (one.name, one.domain, one.tls_optional) == ("mx b.test", "b.test", False)
        assert w.destination("y@b.test", tls_optional=True) is one
        assert w("x@c.test") == "mx c.test"
        assert [each.name for each in w.router.destinations] == ["discard:", "mx b.test", "mx c.test"]
        w.router.drop(one)
        assert w.opened[-1] == "closed mx b.test"
        assert [each.name for each in w.router.destinations] == ["discard:", "mx c.test"]
        assert w.destination("x@b.test") is not one

    def test_one_that_does_not_depend_on_the_domain_is_never_dropped(self):
        w = self.world()
        (local,) = w.router.destinations
        w.router.drop(local)
        assert w.router.destinations == (local,)
        assert w.destination("x@a.test") is local

    def test_messages_for_which_tls_is_optional_have_their_own(self):
        w = self.world()
        assert w("x@b.test", tls_optional=True) == "mx b.test TLS optional"
        assert w.destination("x@b.test", tls_optional=True).tls_optional
        assert w("x@a.test", tls_optional=True) == "discard:"

    @pytest.mark.parametrize("name", ["mx b.test", "mx b.test TLS optional", "discard:"])
    def test_one_is_opened_again_by_its_name(self, name):
        found = self.world().router.destination(name)
        assert found.name == name
        assert found.domain == ("b.test" if name.startswith("mx") else "")

    @pytest.mark.parametrize("name", ["", "mx a.test", "mx", "mx ", "smtp://gone.test:25", "mx b.test (c.test)"])
    def test_none_that_no_route_has(self, name):
        w = self.world()
        assert w.router.destination(name) is None
        assert w.opened == ["discard:"]
