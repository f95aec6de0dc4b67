"""The secret of session tickets: every process takes the same steps, and none back."""

from __future__ import annotations

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from mailmoat.tls.ticket_secret import LENGTH, TicketSecret

ROTATION = 43_200


def test_the_next_secret_follows_from_the_last():
    secret = TicketSecret(ROTATION, 10 * ROTATION + 5)
    first = secret.octets
    assert (secret.epoch, len(first)) == (10, LENGTH)
    secret.step(12 * ROTATION - 1)
    assert (secret.epoch, secret.octets) == (10, first), "tickets of the epoch before are good"
    secret.step(13 * ROTATION)
    second = hmac.new(first, b"next", hashlib.sha256).digest()
    assert (secret.epoch, secret.octets) == (12, hmac.new(second, b"next", hashlib.sha256).digest())


def test_a_clock_that_is_put_back_changes_nothing():
    secret = TicketSecret(ROTATION, 10 * ROTATION)
    first = secret.octets
    secret.step(3 * ROTATION)
    assert (secret.epoch, secret.octets) == (10, first)


@given(st.lists(st.integers(0, 50), max_size=20))
def test_the_way_does_not_matter(steps):
    """Processes that look at other times agree."""
    one = TicketSecret(1, 0)
    other = TicketSecret(1, 0)
    other._octets[:] = one._octets
    for now in steps:
        one.step(now)
    other.step(max(steps, default=0))
    assert (one.epoch, one.octets) == (other.epoch, other.octets)


def test_it_is_never_shown():
    secret = TicketSecret(ROTATION, 0)
    assert repr(secret) == "TicketSecret(epoch=0)"
    assert str(secret) == repr(secret)
    assert TicketSecret(ROTATION, 0).octets != secret.octets
