"""Recipients whose own next hop takes less than others."""

from __future__ import annotations

import pytest
from tests.doubles import policy

from mailmoat._native import Address
from mailmoat.delivery.offers import ANY_TEXT, TRACE_ROOM, Offers
from mailmoat.policy.agents.next_hop_limits import NextHopLimits
from mailmoat.policy.next_hop_refusals import NextHopRule
from mailmoat.policy.verdict import PASS, Reject
from mailmoat.settings import Settings

OLD = Offers(smtputf8=False, size=100_000)
ROUTES = [{"domains": "old.test", "next_hop": "smtp://old.test"}]


def judged(recipient, sender="a@x.test", size=0, limit=0):
    settings = Settings(hostname="mx.example.test", routes=ROUTES, limits={"message_size": limit})
    services = policy.services(settings)
    services.offers_of = {"old.test": OLD, "new.test": ANY_TEXT}.__getitem__
    view = policy.view(
        recipient=Address.parse(recipient),
        reverse_path=sender and Address.parse(sender),
        declared_size=size,
    )
    verdict = NextHopLimits(services).on_rcpt(view)
    return None if verdict is PASS else (verdict.rule, str(verdict.reply)) if isinstance(verdict, Reject) else verdict


@pytest.mark.parametrize(
    ("recipient", "more", "wrong"),
    [
        ("b@old.test", {}, None),
        ("b@old.test", {"sender": None}, None),
        ("b@old.test", {"size": 100_000 - TRACE_ROOM}, None),
        ("b@new.test", {"size": 1 << 40}, None),
        ("bücher@new.test", {"sender": "é@x.test"}, None),
        ("bücher@old.test", {}, (NextHopRule.SMTPUTF8, "550 5.6.7 ")),
        ("b@old.test", {"sender": "é@x.test"}, (NextHopRule.SMTPUTF8, "550 5.6.7 ")),
        ("b@old.test", {"size": 100_000}, (NextHopRule.SIZE, "552 5.3.4 Message exceeds the limit of 91808 octets")),
        ("b@old.test", {"size": 60_000, "limit": 50_000}, (NextHopRule.SIZE, "552 5.3.4 ")),
        ("b@new.test", {"size": 60_000, "limit": 50_000}, (NextHopRule.SIZE, "552 5.3.4 ")),
    ],
)
def test_recipients_whose_next_hop_takes_less_are_refused(recipient, more, wrong):
    """RFC 6531 3.5, RFC 1870 6.1."""
    found = judged(recipient, **more)
    if wrong is None:
        assert found is None
    else:
        assert found[0] is wrong[0]
        assert found[1].startswith(wrong[1])


def test_with_one_next_hop_there_is_nothing_to_judge():
    assert not NextHopLimits.is_on(Settings(hostname="mx.example.test"))
    assert NextHopLimits.is_on(Settings(hostname="mx.example.test", routes=ROUTES))
