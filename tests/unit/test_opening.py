"""Destinations as they are opened."""

from __future__ import annotations

from tests.doubles.loop import VirtualLoop

from mailmoat.delivery.allowance import WorkerConnections
from mailmoat.delivery.offers import ANY_TEXT, Offers
from mailmoat.delivery.opening import Opener
from mailmoat.delivery.route import Route, default_route, redirected_route
from mailmoat.metrics import Metrics, share
from mailmoat.runtime.timers import Timers
from mailmoat.settings import Settings

NARROW = Offers(eight_bit=False, smtputf8=False)


def test_what_another_next_hop_offers_does_not_take_the_place_of_what_the_default_one_does(tmp_path):
    settings = Settings(hostname="mx.example.test", spool_dir=tmp_path, delivery={"next_hop": "smtp://hub.test"})
    loop = VirtualLoop()
    opener = Opener(
        loop,
        settings,
        timers=Timers(loop, lambda _: None),
        metrics=Metrics(share(1, sources=1), 0),
        connections=WorkerConnections(10),
        offered=lambda *_: None,
    )
    default = default_route(settings.delivery)

    def learned(route):
        return opener.open(str(route.next_hop), route, "", tls_optional=False).learned

    learned(default).learn(NARROW)
    redirected = redirected_route(settings.delivery, "smtp://other.test")
    unresolved = Route("unresolved", settings.delivery.model_copy(update={"next_hop": redirected.next_hop}))
    for route in (redirected, unresolved):
        learned(route).learn(Offers(size=1000))
    again = learned(default)
    assert again.offers == ANY_TEXT
    again.refresh()
    assert again.offers == NARROW
