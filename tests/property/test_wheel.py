"""The wheel seen from Python equals a sorted list; its owners live and die as Python objects do."""

import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmoat._native import Wheel

SPANS = st.one_of(
    st.integers(0, 600), st.sampled_from([2**bits + d for bits in (8, 16, 24, 32, 40) for d in (-1, 0, 1)])
)
ACTS = st.lists(st.tuples(st.sampled_from(["schedule", "past", "cancel", "advance"]), SPANS), max_size=60)


@given(start=SPANS, acts=ACTS)
def test_equals_a_sorted_list(start, acts):
    now, wheel, model, keys = start, Wheel(start), {}, []
    for number, (act, span) in enumerate(acts):
        if act in {"schedule", "past"}:
            deadline = max(now - span, 0) if act == "past" else now + span
            keys.append(wheel.schedule(deadline, number))
            model[keys[-1]] = (deadline, number)
        elif act == "cancel" and keys:
            key = keys[span % len(keys)]
            assert wheel.cancel(key) == (model.pop(key, None) is not None)
        elif act == "advance":
            now += span
            due = sorted(item for item in model.items() if item[1][0] <= now)
            due.sort(key=lambda item: item[1])
            assert wheel.advance(now) == [number for _, (_, number) in due]
            model = {key: item for key, item in model.items() if item[0] > now}
        assert len(wheel) == len(model)
        earliest = min((deadline for deadline, _ in model.values()), default=None)
        assert (wheel.next_deadline() is None) == (earliest is None)
        assert earliest is None or wheel.next_deadline() <= earliest
    assert len(set(keys)) == len(keys)


class Owner:
    wheel = None
    end = None

    def __del__(self):
        if self.end:
            self.end()


def test_a_cycle_through_the_wheel_is_collected():
    owner = Owner()
    owner.wheel = Wheel(0)
    owner.wheel.schedule(10, owner)
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None


def test_an_owner_that_ends_in_cancel_may_call_the_wheel():
    wheel, seen = Wheel(0), []
    owner = Owner()
    owner.end = lambda: seen.append(wheel.schedule(5, "next"))
    key = wheel.schedule(10, owner)
    del owner
    assert wheel.cancel(key)
    assert len(seen) == 1
    assert wheel.advance(5) == ["next"]


def test_out_of_range_is_refused():
    wheel = Wheel(0)
    with pytest.raises(OverflowError):
        wheel.schedule(-1, None)
    with pytest.raises(OverflowError):
        wheel.schedule(1 << 64, None)
    assert not wheel.cancel(0)
