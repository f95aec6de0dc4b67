"""Where recipients go while there is one next hop."""

import pytest

from mailmoat._native import Message
from mailmoat.delivery.router import make_router
from mailmoat.settings.next_hop import parse_next_hop
from mailmoat.settings.sections.delivery import DeliverySettings


def message(*, tls_optional=False):
    return Message(
        queue_id="q1", arrival=0, reverse_path="", recipients=["a@example.org"], content=b"", tls_optional=tls_optional
    )


def router_by(next_hop, opened, **settings):
    hop = None if next_hop is None else parse_next_hop(next_hop)

    def opening(kind):
        return lambda next_hop: opened.append((kind, str(next_hop))) or kind

    made = DeliverySettings(next_hop=hop, **settings)
    return make_router(made, opening("usual"), opening("TLS optional"))


def test_every_recipient_has_the_one_next_hop():
    opened = []
    router = router_by("smtp://192.0.2.1:25", opened)
    found = {router(address, message(tls_optional=True)) for address in ("a@example.org", "b@example.test")}
    assert found == {"usual"} == {router.default}
    assert router.destinations == ("usual",)
    assert opened == [("usual", "smtp://192.0.2.1:25")]


def test_without_a_next_hop_nobody_has_a_destination():
    router = router_by(None, [])
    assert router("a@example.org", message()) is None
    assert router.destinations == ()


@pytest.mark.parametrize(
    ("next_hop", "settings", "differs"),
    [
        ("smtp://hub.test:25", {"tls": "encrypt"}, True),
        ("smtp://hub.test:25", {"tls": "verify"}, True),
        ("lmtp://hub.test:24", {"tls": "verify"}, True),
        ("smtps://hub.test:465", {"tls": "verify"}, True),
        ("smtps://hub.test:465", {"tls": "encrypt"}, False),
        ("smtp://hub.test:25", {"tls": "may"}, False),
        ("smtp://hub.test:25", {"tls": "none"}, False),
        ("smtp://hub.test:25", {"tls": "verify", "tls_optional": False}, False),
        ("smtp://hub.test:25", {"tls": "verify", "auth_name": "edge", "auth_password_file": "/p"}, False),
        ("maildir:/var/mail", {"tls": "encrypt"}, False),
        ("discard:", {"tls": "encrypt"}, False),
    ],
)
def test_messages_for_which_tls_is_optional_have_a_destination_of_their_own_where_it_is_required(
    next_hop, settings, differs
):
    """RFC 8689 4.2.2."""
    router = router_by(next_hop, [], **settings)
    assert router("a@example.org", message(tls_optional=True)) == ("TLS optional" if differs else "usual")
    assert router("a@example.org", message()) == "usual" == router.default
    assert len(router.destinations) == 1 + differs
