"""A text file as a source: what is no file, and a file without an end, hold nothing up."""

import asyncio
import os
from contextlib import aclosing

import pytest
from tests.doubles.directory_source import row

from mailmoat.directory.opening import open_sync
from mailmoat.directory.source import Whole
from mailmoat.errors import SourceError


def source(path):
    return open_sync(row(url=f"file://{path}"))


async def read(path):
    async with aclosing(source(path).steps(None, {})) as steps:
        found = []
        async for step in steps:
            found.append(step)
            if isinstance(step, Whole):
                return found
    raise AssertionError


def test_its_lines_are_a_full_read(tmp_path):
    (tmp_path / "list").write_text("".join(f"u{number}@a.test\n" for number in range(20_000)))
    _, *parts, _ = asyncio.run(read(tmp_path / "list"))
    assert sum(len(part.entries) for part in parts) == 20_000
    assert asyncio.run(source(tmp_path / "list").probe()).entries == 20_000


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path), lambda path: os.symlink(path, path)],
    ids=["pipe", "directory", "device", "circle"],
)
def test_what_is_no_file_is_an_outage(tmp_path, make):
    make(tmp_path / "list")
    with pytest.raises(SourceError, match=r"no file|Is a directory|not there"):
        asyncio.run(read(tmp_path / "list"))


def test_a_file_without_an_end_of_a_line_lets_others_run(tmp_path):
    with (tmp_path / "list").open("wb") as file:
        file.truncate(1 << 40)

    async def main():
        reading = asyncio.ensure_future(read(tmp_path / "list"))
        await asyncio.wait((reading,), timeout=0.5)
        assert not reading.done()
        reading.cancel()
        await asyncio.wait((reading,))

    asyncio.run(main())
