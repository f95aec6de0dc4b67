"""Which failures are named in the next report to their sender: each ends once, whatever happens to the report, and nothing grows."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mailmoat.reports.folded import Folded, fold
from mailmoat.reports.folding import KEPT, MOST, Folds

A, B = "a@x.test", "b@y.test"


def key(number):
    return f"q{number}", (0,)


def folded(number):
    return Folded(f"q{number}", 0, (("u@z.test", "550 5.1.1 no"),))


def test_the_first_that_is_due_names_the_others():
    folds = Folds()
    for number in range(3):
        folds.wait(A, key(number), folded(number), 1.0)
    folds.wait(B, key(9), folded(9), 1.0)
    assert [one.queue_id for one in folds.begin(A, key(1), 2.0)] == ["q0", "q2"]
    assert folds.place(A, key(0)).storing
    calls = []
    folds.when_stored(A, calls.append)
    folds.stored(A, None)
    assert calls == [None]
    assert folds.place(A, key(0)).named and not folds.place(A, key(1)).named
    folds.leave(A, key(0))
    folds.leave(A, key(2))
    assert len(folds) == 1
    assert folds.begin(B, key(9), 2.0) == []
    assert len(folds) == 0


def test_a_report_that_could_not_be_stored_names_nobody():
    folds = Folds()
    for number in range(3):
        folds.wait(A, key(number), folded(number), 1.0)
    folds.begin(A, key(0), 2.0)
    calls = []
    folds.when_stored(A, calls.append)
    folds.stored(A, "disk full")
    assert calls == ["disk full"]
    assert not any(folds.place(A, key(1)))
    assert len(folds) == 0


def test_what_comes_while_a_report_is_stored_waits_for_the_next():
    folds = Folds()
    folds.wait(A, key(0), folded(0), 1.0)
    folds.wait(A, key(1), folded(1), 1.0)
    folds.begin(A, key(0), 2.0)
    folds.wait(A, key(2), folded(2), 2.0)
    assert folds.begin(A, key(3), 2.0) == [], "one report at a time names others"
    folds.stored(A, None)
    assert folds.place(A, key(1)).named and not folds.place(A, key(2)).named
    assert [one.queue_id for one in folds.begin(A, key(3), 3.0)] == ["q2"]


def test_what_is_remembered_is_bounded_and_forgotten():
    folds = Folds()
    for number in range(2 * MOST):
        folds.wait(f"u{number % 100}@x.test", key(number), folded(number), 1.0)
    assert len(folds) == MOST
    folds.tick(KEPT)
    assert len(folds) == MOST
    folds.tick(1.0 + KEPT)
    assert len(folds) == 0


def test_a_long_list_of_failures_is_cut():
    recipients = [(f"u{number}@x.test", "550 " + "x" * 5000) for number in range(50)]
    made = fold("q1", 7, recipients)
    assert (len(made.failures), made.left_out, max(len(reply) for _, reply in made.failures)) == (5, 45, 200)


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["wait", "begin", "stored", "failed", "leave", "tick"]),
            st.sampled_from([A, B]),
            st.integers(0, 5),
        )
    )
)
def test_the_count_is_that_of_the_folds(steps):
    folds, now = Folds(), 0.0
    for word, address, number in steps:
        now += 100.0
        match word:
            case "wait":
                folds.wait(address, key(number), folded(number), now)
            case "begin":
                folds.begin(address, key(number), now)
            case "stored" | "failed":
                folds.stored(address, None if word == "stored" else "no")
            case "leave":
                folds.leave(address, key(number))
            case "tick":
                folds.tick(now)
        assert len(folds) == sum(map(len, folds._folds.values()))
