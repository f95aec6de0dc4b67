"""What an checker remembers: never anything but what it would find again."""

from __future__ import annotations

import tracemalloc
from unittest import mock

import pytest
from tests.doubles.resolver import Zones

from mailmoat.mailauth.results import Result
from mailmoat.mailauth.spf import checker, result_cache
from mailmoat.mailauth.spf.checker import Checker, CheckRequest, Scope, Status
from mailmoat.resolver import Budget, Found, NoName


class Resolver(Zones):
    """`sender_test="v=spf1 -all"` is the record of sender.test."""

    def __init__(self, **texts):
        super().__init__()
        self.change(**texts)

    def change(self, **texts):
        for name, text in texts.items():
            self.txt(name.replace("_", "."), text)


@pytest.fixture
def evaluations():
    with mock.patch.object(checker, "SpfCheck", wraps=checker.SpfCheck) as counted:
        yield counted


def check(checker, mailbox="a@sender.test", ip="192.0.2.1", scope=Scope.MFROM, hello="client.test", **others):
    return checker.check(CheckRequest(ip, scope, mailbox, hello, "mx.test"), Budget(0, 1), **others)


def test_one_evaluation_serves_all_mailboxes_of_a_domain(evaluations):
    checker = Checker(Resolver(sender_test="v=spf1 ip4:192.0.2.1 -all"))
    assert [check(checker, f"{local}@sender.test", hello=f"{local}.test").status for local in "abc"] == [
        Status.PASS
    ] * 3
    assert evaluations.call_count == 1


def test_another_address_scope_or_domain_is_another_question(evaluations):
    checker = Checker(Resolver(sender_test="v=spf1 ip4:192.0.2.1 -all", other_test="v=spf1 -all"))
    assert check(checker).status is Status.PASS
    assert check(checker, ip="192.0.2.2").status is Status.FAIL
    assert check(checker, "a@other.test").status is Status.FAIL
    assert check(checker, "a@missing.test").status is Status.NONE
    assert check(checker, "a@missing.test", scope=Scope.PRA).status is Status.FAIL
    assert evaluations.call_count == 5


@pytest.mark.parametrize("macro", ["%{l}", "%{s}", "%{S}", "%{h}", "%{l1r-}"])
def test_a_record_that_looks_at_the_mailbox_or_the_hello_name_is_asked_for_each(evaluations, macro):
    resolver = Resolver(sender_test=f"v=spf1 exists:{macro}.list.test -all")
    checker = Checker(resolver)
    for _ in range(2):
        for local in "ab":
            check(checker, f"{local}@sender.test", hello=f"{local}.test")
    assert evaluations.call_count == 2


@pytest.mark.parametrize("macro", ["%{i}", "%{o}", "%{d}", "%{r}", "%{c}"])
def test_other_macros_make_no_difference_between_mailboxes(evaluations, macro):
    checker = Checker(Resolver(sender_test="v=spf1 -all exp=why.test", why_test=f"{macro} says no"))
    assert check(checker, "a@sender.test") == check(checker, "b@sender.test")
    assert evaluations.call_count == 1


def test_the_time_of_day_is_not_remembered(evaluations):
    checker = Checker(Resolver(sender_test="v=spf1 -all exp=why.test", why_test="it is %{t}"))
    check(checker)
    check(checker)
    assert evaluations.call_count == 2


def test_another_answer_makes_another_result():
    resolver = Resolver(sender_test="v=spf1 include:shared.test -all", shared_test="v=spf1 ip4:192.0.2.1 -all")
    checker = Checker(resolver)
    assert check(checker).status is Status.PASS
    resolver.change(shared_test="v=spf1 -all")
    assert check(checker).status is Status.FAIL
    resolver.publish("sender.test", "TXT", NoName(300.0))
    assert check(checker, scope=Scope.PRA).reason == "Domain Does Not Exist"


def test_a_trace_is_made_each_time(evaluations):
    checker = Checker(Resolver(sender_test="v=spf1 -all"))
    traces = [[], []]
    for trace in traces:
        check(checker, trace=trace)
    assert traces[0] == traces[1] != []


def test_long_answers_are_not_kept_and_the_rest_is_bounded(evaluations):
    texts = {f"d{number}_test": "v=spf1 -all" for number in range(8)}
    checker = Checker(Resolver(long_test="v=spf1 -all " + "x=" + "y" * 9000, **texts))
    check(checker, "a@long.test")
    check(checker, "a@long.test")
    assert evaluations.call_count == 2
    with mock.patch.object(result_cache, "ROOM", 5000):
        checker = Checker(Resolver(**texts))
    for number in range(8):
        check(checker, f"a@d{number}.test")
    assert 1 < len(checker._results) < 8
    check(checker, "a@d7.test")
    check(checker, "a@d0.test")
    assert evaluations.call_count == 2 + 8 + 1


@pytest.mark.parametrize(
    "record", ["v=spf1 -all", "v=spf1 exists:%{l}.a.test include:b.test -all", "v=spf1 " + "a " * 2000]
)
def test_the_room_is_memory(record):
    """Filled with results, it takes what it was given and not much less; what it rests on counts as its own."""
    room = 1 << 20
    with mock.patch.object(result_cache, "ROOM", room):
        checker = Checker(Resolver())
    kept = checker._results
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        count = 0
        while len(kept) == count:
            domain = f"sender{count}.test"
            answers = {(f"{domain}", "TXT"): Found((f"{record} {count}".encode(),), 300.0 + count)}
            request = CheckRequest(f"192.0.2.{count}", Scope.PRA, f"{count}@{domain}", f"{count}.test", "mx.test")
            result = Result(Status.PASS, "Permitted", "", "".join(domain), f"ip4:192.0.2.{count}")
            kept.put(request, domain, "l", answers, result)
            count += 1
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert room / 2 < used < 1.05 * room
