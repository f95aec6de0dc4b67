"""The field in which filters say what they found."""

import re
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from tests.doubles.policy import Counted

from mailmoat import maillog
from mailmoat.policy.filter_stamp import FIELD, FILTER_STAMPS, FilterRule, filter_stamp, log_stamps
from mailmoat.policy.verdict import POLICY_REFUSALS, Pass


class StampRule(FilterRule):
    """A rule of this test."""

    FOUND = "found-by-a-test"


def test_reason_and_detail_are_in_one_field():
    assert filter_stamp(StampRule.FOUND, "evil.test") == b"X-Mailmoat-Filter: found-by-a-test; evil.test\r\n"
    assert filter_stamp(StampRule.FOUND) == b"X-Mailmoat-Filter: found-by-a-test\r\n"


def test_a_rule_is_counted_as_a_refusal_and_as_a_stamp():
    assert isinstance(POLICY_REFUSALS[StampRule.FOUND], int)
    assert isinstance(FILTER_STAMPS[StampRule.FOUND], int)


def test_stamps_of_a_message_are_counted_and_logged_and_no_other_fields():
    metrics, lines = Counted(), []
    stamps = b"Received-SPF: Pass\r\n" + filter_stamp(StampRule.FOUND, "a; b") + b"X-Other: found-by-a-test\r\n"
    with mock.patch.object(maillog._stream, "write", lambda name, level, fields: lines.append((name, fields))):
        log_stamps(stamps, "s-1", metrics)
    assert metrics.counted == [FILTER_STAMPS[StampRule.FOUND]]
    ((name, fields),) = lines
    assert name == "message-stamped"
    assert (fields["session"], fields["reason"], fields["detail"]) == ("s-1", "found-by-a-test", "a; b")


@given(st.text(max_size=1000))
def test_whatever_a_stranger_wrote_is_one_line_of_ascii(detail):
    stamp = filter_stamp(StampRule.FOUND, detail)
    assert Pass((stamp,)).stamps == (stamp,)
    assert re.fullmatch(rb"[ -~]{1,998}\r\n", stamp)
    assert stamp.startswith(FIELD.encode())
