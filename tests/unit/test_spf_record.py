"""Which record counts: the steps of RFC 4406 4.4 and the corners they have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmoat.mailauth.results import Scope
from mailmoat.mailauth.spf.record import Record, TooMany, select

PRA, MFROM = Scope.PRA, Scope.MFROM
NONE, SEVERAL = None, "several"

TABLE = [
    # published, the record for pra, the one for mfrom: their number from 1, none, or several
    ([], NONE, NONE),
    (["v=spf1 mx -all"], 1, 1),
    (["v=spf1"], 1, 1),
    (["V=SPF1 -all"], 1, 1),
    (["v=spf1\t-all"], NONE, NONE),
    (["v=spf10 -all"], NONE, NONE),
    (["v=spf1-all"], NONE, NONE),
    ([" v=spf1 -all"], NONE, NONE),
    (["v=spf2.0/pra -all"], NONE, NONE),  # seen in the wild; neither of the two
    (["v=spf1", "v=spf1 -all"], SEVERAL, SEVERAL),
    (["some verification", "v=spf1 -all", "v=DKIM1"], 2, 2),
    # spf2.0 counts before v=spf1 for the scopes it names, and only for these
    (["spf2.0/pra mx -all"], 1, NONE),
    (["spf2.0/mfrom mx -all"], NONE, 1),
    (["spf2.0/mfrom,pra +mx +ip4:192.168.0.100 -all"], 1, 1),
    (["spf2.0/pra,mfrom"], 1, 1),
    (["SPF2.0/PRA -all"], 1, NONE),
    (["v=spf1 mx -all", "spf2.0/pra ?all"], 2, 1),
    (["spf2.0/mfrom -all", "v=spf1 mx"], 2, 1),
    (["v=spf1 mx", "spf2.0/mfrom,pra -all"], 2, 2),
    (["spf2.0/pra -all", "spf2.0/mfrom ~all"], 1, 2),
    (["spf2.0/pra -all", "spf2.0/pra ~all"], SEVERAL, NONE),
    (["spf2.0/pra -all", "spf2.0/mfrom,pra ~all"], SEVERAL, 2),
    (["spf2.0/pra -all", "spf2.0/pra ~all", "v=spf1"], SEVERAL, 3),
    (["spf2.0/pra -all", "v=spf1", "v=spf1 ~all"], 1, SEVERAL),
    # scopes are whole words; unknown ones are ignored (the example of RFC 4406 4.4 step 3)
    (["spf2.0/mfrom,prattle,fubar -all"], NONE, 1),
    (["spf2.0/mfrom,pra,fubar -all"], 1, 1),
    (["spf2.0/fubar -all"], NONE, NONE),
    (["spf2.0/fubar -all", "v=spf1 mx"], 2, 2),
    (["spf2.0/x-y_z.1,pra -all"], 1, NONE),
    # a minor version has to be there and is otherwise ignored
    (["spf2.1/pra -all"], 1, NONE),
    (["spf2.4711/pra -all"], 1, NONE),
    (["spf2.1/pra -all", "spf2.0/pra -all"], SEVERAL, NONE),
    (["spf2./pra -all", "v=spf1"], 2, 2),
    (["spf2.x/pra -all"], NONE, NONE),
    (["spf2/pra -all"], NONE, NONE),
    (["spf3.0/pra -all"], NONE, NONE),
    # what does not begin with a proper version section is no record
    (["spf2.0 -all"], NONE, NONE),
    (["spf2.0/ -all"], NONE, NONE),
    (["spf2.0/pra, -all"], NONE, NONE),
    (["spf2.0/,pra -all"], NONE, NONE),
    (["spf2.0/mfrom, pra -all"], NONE, NONE),
    (["spf2.0/pra;mfrom -all"], NONE, NONE),
    (["spf2.0/1pra -all"], NONE, NONE),
    (["spf2.0/pra\n-all"], NONE, NONE),
    (["spf2.0/pra\n"], NONE, NONE),
]


@pytest.mark.parametrize(("published", "pra", "mfrom"), TABLE)
def test_the_record_that_counts(published, pra, mfrom):
    for scope, wanted in ((PRA, pra), (MFROM, mfrom)):
        chosen = select([text.encode() for text in published], scope)
        if wanted is None:
            assert chosen is None
        elif wanted == SEVERAL:
            assert isinstance(chosen, TooMany)
        else:
            assert str(chosen) == published[wanted - 1]


def test_version_and_terms_are_parted():
    assert select([b"spf2.0/mfrom,pra  mx -all "], PRA) == Record("spf2.0/mfrom,pra", b" mx -all ")
    assert select([b"v=spf1"], PRA) == Record("v=spf1", b"")


def test_terms_may_be_any_octets():
    assert select([b"v=spf1 \xff\x00"], MFROM) == Record("v=spf1", b"\xff\x00")


def test_too_many_are_named():
    assert str(select([b"v=spf1 a", b"V=spf1 b"], MFROM)) == "2 records where one is allowed: v=spf1, V=spf1"


@given(st.lists(st.binary(max_size=40) | st.builds(bytes.__add__, st.just(b"spf2.0/"), st.binary(max_size=20))))
def test_any_octets_are_a_value(texts):
    for scope in Scope:
        assert isinstance(select(texts, scope), Record | TooMany | None)


def test_a_long_text_costs_little():
    assert select([b"spf2.0/" + b"pra," * 16_000], PRA) is None
    assert select([b"spf2." + b"0" * 65_000], PRA) is None
