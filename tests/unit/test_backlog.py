"""The backlog as Python has it: what many destinations cost."""

from __future__ import annotations

from time import process_time

from mailmoat._native import Backlog


def time_of(number):
    """The seconds that making and giving up so many lines takes, the best of three."""

    def once():
        backlog = Backlog()
        begun = process_time()
        lines = [backlog.line(f"mx domain{each}.example.test") for each in range(number)]
        assert all(backlog.close(line) for line in lines)
        return process_time() - begun

    return min(once() for _ in range(3))


def test_a_line_costs_the_same_however_many_there_are():
    few, many = time_of(2_000), time_of(32_000)
    assert many < 16 * few * 4, "were each compared with all others, it would be 16 times as much again"
