"""A table that cannot be used stops no other source, whenever that shows."""

import asyncio

import pytest

from mailmoat.directory.freshness import SyncState
from mailmoat.directory_process import process
from mailmoat.directory_process.process import DirectoryProcess
from mailmoat.errors import DirectoryError
from mailmoat.settings import Settings


@pytest.mark.parametrize("fails", ["Table", "Keeper"])
def test_what_cannot_be_opened_is_noted_and_opened_later(tmp_path, monkeypatch, fails):
    names = ("bad", "good")
    settings = Settings(
        hostname="mx.test", spool_dir=tmp_path, directories=[{"name": name, "url": "file:///x"} for name in names]
    )
    loop, made, closed = asyncio.new_event_loop(), getattr(process, fails), []

    def fail(*arguments, **more):
        if any("bad" in str(getattr(each, "name", each)) for each in arguments):
            raise DirectoryError("disk I/O error")
        return made(*arguments, **more)

    if fails == "Keeper":
        monkeypatch.setattr(process.Table, "close", lambda table: closed.append(table.path.name))
    directory = DirectoryProcess(loop, settings, -1)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(process, fails, fail)
            for row in directory._rows:
                directory._open(row)
        assert list(directory._keepers) == ["good"]
        assert directory._unopened["bad"].state is SyncState.FAILED
        assert directory._unopened["bad"].reason == "disk I/O error"
        assert closed == (["bad.db"] if fails == "Keeper" else [])
        directory._open(directory._rows[0])
        assert (set(directory._keepers), directory._unopened) == (set(names), {})
    finally:
        loop.close()
