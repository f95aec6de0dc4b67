"""docs/conformance.md says what the tests show."""

from __future__ import annotations

from tests.conformance import table


def test_the_document_is_as_the_tests_are():
    assert table.TARGET.read_text() == table.render(), "make conformance"


def test_every_row_is_met_by_a_named_test_or_says_why_not():
    shown = table.tests()
    for _, name, row in table.rows():
        status = row.get("status", "met")
        assert status in table.STATUS, name
        assert row["level"] in "MSYP", name
        assert (name in shown) == (status in ("met", "in part")), name
        assert (status == "met") != ("why" in row), name


def test_a_test_is_named_by_its_rows():
    names = {name for _, name, _ in table.rows()}
    for name, tests in table.tests().items():
        assert name in names
        topic, number = name.split("-")
        for test in tests:
            words = test.partition("::")[2].split("_")
            assert topic in words, (name, test)
            assert number in words, (name, test)
