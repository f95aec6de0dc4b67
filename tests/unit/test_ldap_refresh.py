"""A content synchronisation as steps (RFC 4533 3.3, 3.4): the phases, what a cookie stands for, and what is read whole instead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.doubles.directory_source import Known

from mailmoat.directory.ldap.objects import EntryReader, Mapping
from mailmoat.directory.ldap.refresh import Refresh, RefreshNeededError
from mailmoat.directory.source import LARGEST_PART, Begin, Current, Delta, Entry, Listed, Part, Whole
from mailmoat.ldap import ber
from mailmoat.ldap.ber import GarbledError
from mailmoat.ldap.content_sync import PhaseEnd, State, request
from mailmoat.ldap.message import Control, Intermediate, SearchEntry

STATE = "1.3.6.1.4.1.4203.1.9.1.2"
INFO = "1.3.6.1.4.1.4203.1.9.1.4"


def uuid(number):
    return number.to_bytes(16)


def entry(number, state=State.ADD, cookie=None):
    parts = [ber.enumerated(state), ber.octets(uuid(number)), *([ber.octets(cookie)] if cookie else [])]
    attributes = {"mail": [b"u%d@example.com" % number]} if state in (State.ADD, State.MODIFY) else {}
    return SearchEntry(f"uid=u{number}", attributes, (Control(STATE, value=ber.sequence(*parts)),))


def id_set(*numbers, deletes=False, cookie=None):
    parts = [*([ber.octets(cookie)] if cookie else []), *([ber.boolean(True)] if deletes else [])]
    parts.append(ber.element(ber.SET, *(ber.octets(uuid(number)) for number in numbers)))
    return Intermediate(INFO, ber.element(0xA3, *parts))


def phase(*, deletes, cookie=None, done=True):
    parts = [*([ber.octets(cookie)] if cookie else []), *([] if done else [ber.boolean(False)])]
    return Intermediate(INFO, ber.element(0xA1 if deletes else 0xA2, *parts))


def new_cookie(cookie):
    return Intermediate(INFO, ber.octets(cookie, 0x80))


def listed(number):
    return Entry(uuid(number), f"uid=u{number}", (Listed(f"u{number}@example.com"),))


def known(*numbers):
    return Known({uuid(number): listed(number) for number in numbers})


class Play:
    """A refresh and the steps it gave."""

    def __init__(self, cookie=None, known=None, shrink_limit=20):
        self.refresh = Refresh(EntryReader(Mapping()), cookie, known or Known(), shrink_limit)
        self.steps = list(self.refresh.begin())

    def take(self, *answers):
        for answer in answers:
            self.steps += self.refresh.take(answer)
        return self

    def given(self):
        self.steps += self.refresh.given()
        return self


def test_the_first_content_is_a_full_read_with_the_cookie_at_its_end():
    play = Play().take(entry(1), entry(2), phase(deletes=False, cookie=b"c"))
    assert play.steps == [Begin(), Part((listed(1), listed(2))), Whole(b"c")]
    assert play.refresh.over


def test_a_large_content_comes_in_parts():
    play = Play().take(*map(entry, range(2 * LARGEST_PART + 1)), phase(deletes=True, cookie=b"c"))
    assert [len(step.entries) for step in play.steps if isinstance(step, Part)] == [LARGEST_PART, LARGEST_PART, 1]
    assert play.steps[-1] == Whole(b"c")


def test_each_change_follows_with_its_cookie():
    play = Play(b"a", known(1, 2)).take(phase(deletes=True))
    play.take(entry(3, State.ADD, b"b")).given().take(
        entry(2, State.DELETE, b"c"), entry(1, State.MODIFY, b"d")
    ).given()
    assert play.steps == [
        Current(b"a"),
        Delta((listed(3),), (), b"b"),
        Delta((listed(1),), (uuid(2),), b"d"),
    ]


def test_what_is_added_again_or_removed_after_a_change_is_said_once():
    play = (
        Play(b"a", known(1))
        .take(phase(deletes=True))
        .take(entry(1, State.DELETE), entry(1), entry(2), entry(2, State.DELETE))
    )
    assert play.given().steps[1:] == [Delta((listed(1),), (uuid(2),), b"a")]


def test_a_present_phase_removes_what_it_does_not_name():
    play = Play(b"a", known(*range(10))).take(id_set(*range(7)), entry(7, State.PRESENT), entry(8))
    play.take(phase(deletes=False, cookie=b"b"))
    assert play.steps == [Delta((listed(8),), (uuid(9),), b"b")]
    assert play.refresh.over


def test_a_delete_phase_removes_what_it_names():
    play = Play(b"a", known(*range(10))).take(entry(20), id_set(1, 2, deletes=True), entry(3, State.DELETE))
    play.take(phase(deletes=True, cookie=b"b"))
    assert play.steps == [Delta((listed(20),), (uuid(1), uuid(2), uuid(3)), b"b")]


def test_a_delete_phase_can_follow_a_present_phase():
    play = Play(b"a", known(*range(10))).take(id_set(*range(9)), phase(deletes=False, cookie=b"b", done=False))
    assert not play.refresh.over
    play.take(id_set(1, deletes=True), phase(deletes=True, cookie=b"c"))
    assert play.steps == [Delta((), (uuid(9),), b"b"), Delta((), (uuid(1),), b"c")]


def test_a_cookie_within_the_refresh_is_not_taken_for_what_comes_later():
    play = (
        Play(b"a", known(1, 2))
        .take(entry(3, cookie=b"early"), id_set(1, cookie=b"early"), new_cookie(b"early"))
        .given()
    )
    assert play.steps == [Delta((listed(3),), (), b"a")]


def test_of_many_changes_only_the_last_part_has_the_cookie():
    play = Play(b"a", known(*range(3000)), shrink_limit=100).take(phase(deletes=False, cookie=b"b"))
    assert [(len(step.removed), step.cookie) for step in play.steps] == [(1000, b"a"), (1000, b"a"), (1000, b"b")]


def test_a_cookie_alone_is_kept():
    play = Play(b"a").take(phase(deletes=True), new_cookie(b"b")).given()
    assert play.steps == [Current(b"a"), Current(b"b")]


@pytest.mark.parametrize("present", [(), (1,), tuple(range(39))])
def test_a_present_phase_that_would_remove_too_much_calls_for_a_full_read(present):
    play = Play(b"a", known(*range(50))).take(id_set(*present))
    with pytest.raises(RefreshNeededError):
        play.take(phase(deletes=False, cookie=b"b"))


@pytest.mark.parametrize("sent", [10, 50, 99])
def test_all_content_in_place_of_changes_calls_for_a_full_read(sent):
    """slapd gives it for a cookie that it does not recognise, and ends it like a delete phase (RFC 4533 3.1): nothing says what is gone."""
    play = Play(b"a", known(*range(100))).take(*map(entry, range(sent)))
    with pytest.raises(RefreshNeededError):
        play.take(phase(deletes=True, cookie=b"b"))


def test_few_changes_are_no_content_and_many_with_one_that_is_gone_are_none():
    few = Play(b"a", known(*range(100))).take(*map(entry, range(9)), phase(deletes=True, cookie=b"b"))
    assert [step.cookie for step in few.steps] == [b"b"]
    many = Play(b"a", known(*range(100))).take(*map(entry, range(90)), id_set(95, deletes=True))
    assert many.take(phase(deletes=True, cookie=b"b")).steps[-1].removed == (uuid(95),)


def test_the_end_of_the_search_may_be_the_end_of_the_refresh():
    play = Play()
    play.take(entry(1))
    play.steps += play.refresh.end(PhaseEnd(b"c", deletes=False, last=True))
    assert play.steps == [Begin(), Part((listed(1),)), Whole(b"c")]
    with pytest.raises(GarbledError):
        list(Play().refresh.end(None))


@pytest.mark.parametrize(
    "answer",
    [
        SearchEntry("uid=a", {}, ()),
        SearchEntry("uid=a", {}, (Control(STATE, value=b""),)),
        SearchEntry("uid=a", {}, (Control(STATE, value=ber.sequence(ber.enumerated(7), ber.octets(bytes(16)))),)),
        SearchEntry("uid=a", {}, (Control(STATE, value=ber.sequence(ber.enumerated(1), ber.octets(b"short"))),)),
        Intermediate(INFO, b""),
        Intermediate(INFO, b"\x05\x00"),
        Intermediate(INFO, ber.element(0xA3, ber.element(ber.SET, ber.octets(b"short")))),
    ],
)
def test_what_is_no_such_answer_is_garbled(answer):
    with pytest.raises(GarbledError):
        Play(b"a").take(answer)


def test_other_intermediate_answers_say_nothing():
    assert Play(b"a").take(Intermediate("1.2.3", b"x")).steps == []


def test_the_request_has_the_cookie():
    assert request(None).value == ber.sequence(ber.enumerated(3))
    assert request(b"rid=000").value == ber.sequence(ber.enumerated(3), ber.octets(b"rid=000"))


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([State.ADD, State.MODIFY, State.DELETE]), st.booleans())))
def test_whoever_applies_the_steps_has_what_the_server_has(changes):
    play, server, copy = Play(b"a", known(0, 1)).take(phase(deletes=True)), {0, 1}, {uuid(0), uuid(1)}
    for number, state, give in changes:
        server = server - {number} if state is State.DELETE else server | {number}
        play.take(entry(number, state))
        if give:
            play.given()
    for step in play.given().steps:
        if isinstance(step, Delta):
            copy = (copy | {changed.id for changed in step.changed}) - set(step.removed)
    assert copy == {uuid(number) for number in server}
