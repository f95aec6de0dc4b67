"""Where recipients go while there is one next hop."""

from mailmoat.delivery.router import make_router
from mailmoat.settings.next_hop import parse_next_hop
from mailmoat.settings.sections.delivery import DeliverySettings


def test_every_recipient_has_the_one_next_hop():
    hop, opened = parse_next_hop("smtp://192.0.2.1:25"), []
    router = make_router(DeliverySettings(next_hop=hop), lambda next_hop: opened.append(next_hop) or object())
    assert router("a@example.org") is router("b@example.test") is router.default
    assert router.destinations == (router.default,)
    assert opened == [hop]


def test_without_a_next_hop_nobody_has_a_destination():
    router = make_router(DeliverySettings(next_hop=None), lambda _: None)
    assert router("a@example.org") is None
    assert router.destinations == ()
