"""What clients are offered when next hops differ."""

from __future__ import annotations

import pytest

from mailmoat.delivery.offers import ANY_TEXT, Offers
from mailmoat.delivery.route import route_table
from mailmoat.delivery.route_offers import RouteOffers
from mailmoat.settings import Settings

HUB, OTHER = "smtp://hub.test:25", "smtp://other.test:25"
ALL = Offers(binary=True)


class World:
    def __init__(self, *routes, next_hop=HUB):
        self.changes = []
        rows = [{"domains": domains, "next_hop": hop} for domains, hop in routes]
        settings = Settings(hostname="mx.example.test", delivery={"next_hop": next_hop}, routes=rows)
        self.offers = RouteOffers(route_table(settings), self.changes.append)


@pytest.mark.parametrize(
    ("hub", "other", "common"),
    [
        (ALL, ALL, ALL),
        (ALL, ANY_TEXT, ANY_TEXT),
        (ANY_TEXT, Offers(eight_bit=False), Offers(eight_bit=False, smtputf8=False)),
        (ANY_TEXT, Offers(smtputf8=False), ANY_TEXT),
        (Offers(smtputf8=False), Offers(smtputf8=False), Offers(smtputf8=False)),
        (Offers(size=5), Offers(size=9), Offers(size=9)),
        (Offers(size=5), ANY_TEXT, ANY_TEXT),
    ],
)
def test_what_clients_are_offered(hub, other, common):
    for one, two in ((hub, other), (other, hub)):
        w = World(("a.test", OTHER))
        w.offers.learn(HUB, one)
        w.offers.learn(OTHER, two)
        assert w.offers.common == common
        assert (w.offers.of("a.test"), w.offers.of("b.test")) == (two, one)
        assert len(w.changes) == len(set(map(str, w.changes)))


def test_before_anything_is_known_and_where_mail_is_local():
    assert World().offers.common == ANY_TEXT
    assert World(next_hop=None).offers.common == ANY_TEXT
    assert World(next_hop="discard:").offers.common == ALL
    assert World(("a.test", "maildir:/m"), next_hop="discard:").offers.common == ALL
    assert World(("a.test", "maildir:/m"), next_hop=None).offers.common == ALL
    assert World(("a.test", "maildir:/m"), next_hop="mx").offers.common == ANY_TEXT


def test_routes_that_share_a_next_hop_share_its_offers_and_others_say_nothing():
    w = World(("a.test", OTHER), ("b.test", HUB))
    w.offers.learn("smtp://gone.test:25", Offers(size=1))
    assert w.changes == []
    w.offers.learn(HUB, Offers(size=7))
    assert (w.offers.of("b.test"), w.offers.of("c.test")) == (Offers(size=7), Offers(size=7))
