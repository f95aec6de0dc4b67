"""What an evaluator remembers: never anything but what it would find again."""

from __future__ import annotations

import tracemalloc
from unittest import mock

import pytest

from mailmoat.mailauth.results import Result
from mailmoat.mailauth.spf import checker, result_cache
from mailmoat.mailauth.spf.checker import Evaluator, Question, Scope, Status
from mailmoat.resolver import Budget, Found, NoName


class Resolver:
    """Knows everything at once."""

    def __init__(self, **texts):
        self.answers = {}
        self.change(**texts)

    def change(self, **texts):
        for name, text in texts.items():
            self.answers[name.replace("_", "."), "TXT"] = Found((text.encode(),), 300.0)

    def cached(self, name, kind):
        return self.answers.setdefault((name, kind), NoName(300.0))


@pytest.fixture
def evaluations():
    with mock.patch.object(checker, "Evaluation", wraps=checker.Evaluation) as counted:
        yield counted


def check(evaluator, mailbox="a@sender.test", ip="192.0.2.1", scope=Scope.MFROM, hello="client.test", **others):
    return evaluator.check(Question(ip, scope, mailbox, hello, "mx.test"), Budget(0, 1), **others)


def test_one_evaluation_serves_all_mailboxes_of_a_domain(evaluations):
    evaluator = Evaluator(Resolver(sender_test="v=spf1 ip4:192.0.2.1 -all"))
    assert [check(evaluator, f"{local}@sender.test", hello=f"{local}.test").status for local in "abc"] == [
        Status.PASS
    ] * 3
    assert evaluations.call_count == 1


def test_another_address_scope_or_domain_is_another_question(evaluations):
    evaluator = Evaluator(Resolver(sender_test="v=spf1 ip4:192.0.2.1 -all", other_test="v=spf1 -all"))
    assert check(evaluator).status is Status.PASS
    assert check(evaluator, ip="192.0.2.2").status is Status.FAIL
    assert check(evaluator, "a@other.test").status is Status.FAIL
    assert check(evaluator, "a@missing.test").status is Status.NONE
    assert check(evaluator, "a@missing.test", scope=Scope.PRA).status is Status.FAIL
    assert evaluations.call_count == 5


@pytest.mark.parametrize("macro", ["%{l}", "%{s}", "%{S}", "%{h}", "%{l1r-}"])
def test_a_record_that_looks_at_the_mailbox_or_the_hello_name_is_asked_for_each(evaluations, macro):
    resolver = Resolver(sender_test=f"v=spf1 exists:{macro}.list.test -all")
    evaluator = Evaluator(resolver)
    for _ in range(2):
        for local in "ab":
            check(evaluator, f"{local}@sender.test", hello=f"{local}.test")
    assert evaluations.call_count == 2


@pytest.mark.parametrize("macro", ["%{i}", "%{o}", "%{d}", "%{r}", "%{c}"])
def test_other_macros_make_no_difference_between_mailboxes(evaluations, macro):
    evaluator = Evaluator(Resolver(sender_test="v=spf1 -all exp=why.test", why_test=f"{macro} says no"))
    assert check(evaluator, "a@sender.test") == check(evaluator, "b@sender.test")
    assert evaluations.call_count == 1


def test_the_time_of_day_is_not_remembered(evaluations):
    evaluator = Evaluator(Resolver(sender_test="v=spf1 -all exp=why.test", why_test="it is %{t}"))
    check(evaluator)
    check(evaluator)
    assert evaluations.call_count == 2


def test_another_answer_makes_another_result():
    resolver = Resolver(sender_test="v=spf1 include:shared.test -all", shared_test="v=spf1 ip4:192.0.2.1 -all")
    evaluator = Evaluator(resolver)
    assert check(evaluator).status is Status.PASS
    resolver.change(shared_test="v=spf1 -all")
    assert check(evaluator).status is Status.FAIL
    resolver.answers["sender.test", "TXT"] = NoName(300.0)
    assert check(evaluator, scope=Scope.PRA).reason == "Domain Does Not Exist"


def test_a_trace_is_made_each_time(evaluations):
    evaluator = Evaluator(Resolver(sender_test="v=spf1 -all"))
    traces = [[], []]
    for trace in traces:
        check(evaluator, trace=trace)
    assert traces[0] == traces[1] != []


def test_long_answers_are_not_kept_and_the_rest_is_bounded(evaluations):
    texts = {f"d{number}_test": "v=spf1 -all" for number in range(8)}
    evaluator = Evaluator(Resolver(long_test="v=spf1 -all " + "x=" + "y" * 9000, **texts))
    check(evaluator, "a@long.test")
    check(evaluator, "a@long.test")
    assert evaluations.call_count == 2
    with mock.patch.object(result_cache, "ROOM", 5000):
        evaluator = Evaluator(Resolver(**texts))
    for number in range(8):
        check(evaluator, f"a@d{number}.test")
    assert 1 < len(evaluator._remembered) < 8
    check(evaluator, "a@d7.test")
    check(evaluator, "a@d0.test")
    assert evaluations.call_count == 2 + 8 + 1


@pytest.mark.parametrize(
    "record", ["v=spf1 -all", "v=spf1 exists:%{l}.a.test include:b.test -all", "v=spf1 " + "a " * 2000]
)
def test_the_room_is_memory(record):
    """Filled with results, it takes what it was given and not much less; what it rests on counts as its own."""
    room = 1 << 20
    with mock.patch.object(result_cache, "ROOM", room):
        evaluator = Evaluator(Resolver())
    kept = evaluator._remembered
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        count = 0
        while len(kept) == count:
            domain = f"sender{count}.test"
            answers = {(f"{domain}", "TXT"): Found((f"{record} {count}".encode(),), 300.0 + count)}
            question = Question(f"192.0.2.{count}", Scope.PRA, f"{count}@{domain}", f"{count}.test", "mx.test")
            result = Result(Status.PASS, "Permitted", "", "".join(domain), f"ip4:192.0.2.{count}")
            kept.put(question, domain, "l", answers, result)
            count += 1
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert room / 2 < used < 1.05 * room
