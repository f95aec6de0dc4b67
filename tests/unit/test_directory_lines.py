"""Entries one a line: what a line means, and that the pieces in which it comes mean nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmoat.directory.lines import LONGEST_LINE, Lines, read_entry
from mailmoat.directory.source import LARGEST_PART, LeftOut, Listed, Part


def read(text, size=65_536):
    octets, lines, steps = text if isinstance(text, bytes) else text.encode(), Lines(), []
    for at in range(0, len(octets), size):
        steps += lines.feed(octets[at : at + size])
    return [*steps, *lines.end()]


def entries(steps):
    return [entry for step in steps if isinstance(step, Part) for entry in step.entries]


@pytest.mark.parametrize(
    ("line", "listed"),
    [
        ("", None),
        ("  # only this", None),
        (" ann@a.test # Ann", Listed("ann@a.test")),
        ("ann#1@a.test", Listed("ann#1@a.test")),
        ('"a # b"@a.test # quoted', Listed('"a # b"@a.test')),
        ("@a.test", Listed("@a.test")),
        ("!bob@a.test", Listed("!bob@a.test")),
        ("ann", Listed("ann")),
        ("sales@a.test = ann@a.test,bob@a.test", Listed("sales@a.test", ("ann@a.test", "bob@a.test"))),
        ("@old.test = @new.test", Listed("@old.test", ("@new.test",))),
        ("a=b@a.test", Listed("a=b@a.test")),
        ('"a = b"@a.test = ann@a.test', Listed('"a = b"@a.test', ("ann@a.test",))),
        ('"a\\" # b"@a.test', Listed('"a\\" # b"@a.test')),
        ("sales@a.test\t=\t ann@a.test\t# both", Listed("sales@a.test", ("ann@a.test",))),
    ],
)
def test_a_line_is_an_entry(line, listed):
    assert read_entry(line) == listed


@pytest.mark.parametrize("line", ["a b@a.test", "ann@a.test = ", "!a@a.test = b@a.test", "a@b@c"])
def test_a_line_that_is_no_entry_is_refused(line):
    with pytest.raises(ValueError, match=r"."):
        read_entry(line)


@pytest.mark.parametrize(
    "line",
    [
        '\\"' * 500_000,
        '"' + '\\"' * 500_000 + "#",
        "ann@a.test" + " " * 1_000_000 + "x",
        "# " * 500_000,
        "= " * 500_000,
    ],
)
def test_the_time_for_a_line_grows_with_its_length_alone(line):
    """Quadratic, each would take the directory process for half an hour: this test ends by its time limit then."""
    steps = read(f"bob@a.test\n{line}\ncid@a.test")
    assert {entry.id for entry in entries(steps)} >= {b"bob@a.test", b"cid@a.test"}


def test_what_is_no_entry_is_counted_and_left_out():
    steps = read(b"ann@a.test\nno good\n\xff\xfe\nbob@a.test\r\n" + b"x" * 3 * LONGEST_LINE + b"@a.test\ncid@a.test")
    assert [(entry.id, entry.name) for entry in entries(steps)] == [
        (b"ann@a.test", "line 1"),
        (b"bob@a.test", "line 4"),
        (b"cid@a.test", "line 6"),
    ]
    assert steps[-1] == LeftOut(3, "line 2: no good is no address")


def test_a_mark_of_utf_8_at_the_start_is_nothing():
    assert entries(read(b"\xef\xbb\xbfann@a.test\n"))[0].id == b"ann@a.test"


def test_parts_are_small():
    sizes = [len(step.entries) for step in read("".join(f"a{n}@a.test\n" for n in range(2500)))]
    assert sizes == [LARGEST_PART, LARGEST_PART, 500]


@given(st.lists(st.sampled_from(["ann@a.test", "!bob@a.test", "", "# no", "bad one", "é@a.test"])), st.integers(1, 7))
def test_pieces_mean_nothing(lines, size):
    text = "\n".join(lines)
    assert read(text, size) == read(text)
