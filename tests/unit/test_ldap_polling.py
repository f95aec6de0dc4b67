"""Reading an LDAP server by modifyTimestamp: what changes while it is read, and times that are wrong."""

import asyncio
from datetime import UTC, datetime
from unittest import mock

import pytest

from mailmoat import clock
from mailmoat.directory.ldap import polling
from mailmoat.directory.ldap.objects import EntryReader, Mapping
from mailmoat.directory.source import Current, Delta, Whole
from mailmoat.ldap import filters
from mailmoat.ldap.message import SearchEntry, SearchRequest

NOW = 1_700_000_000_000
FORMAT = "%Y%m%d%H%M%S"


def at(seconds):
    return datetime.fromtimestamp(NOW / 1000 + seconds, UTC).strftime(FORMAT).encode()


class Server:
    """Has entries by name: when they were modified, and whether the filter of the administrator matches."""

    def __init__(self, **modified):
        self.modified = {name: at(seconds) + b"Z" for name, seconds in modified.items()}
        self.between = lambda: None
        self.starts = []

    async def paged(self, _connection, request, size):
        assert size
        start = next((part for part in request.filter.split(b"\x04") if part[1:5] == b"2023"), None)
        self.starts.append(start and start[1:15])
        yield [
            SearchEntry(name, {"mail": [f"{name}@a.test".encode()], "modifytimestamp": [time]})
            for name, time in self.modified.items()
            if start is None or time >= start[1:15]
        ]
        self.between()


def steps(server, cookie, *known):
    async def read():
        request = SearchRequest("", filters.parse("(mail=*)"))
        ids = {name.encode() for name in known}
        return [step async for step in polling.poll(None, request, EntryReader(Mapping()), cookie, ids)]

    with mock.patch.object(polling, "paged", server.paged):
        return asyncio.run(read())


@pytest.fixture(autouse=True)
def _now():
    with mock.patch.object(clock, "wall_ms", return_value=NOW):
        yield


def test_an_entry_that_is_modified_while_changes_are_read_is_not_removed():
    server = Server(ann=-86_400, bob=-60)

    def modify():
        server.modified["ann"] = at(1) + b"Z"

    server.between = modify
    [delta] = steps(server, b"P%s %d" % (at(-300), NOW - 1000), "ann", "bob")
    assert isinstance(delta, Delta)
    assert delta.removed == ()
    assert b"ann" in {entry.id for entry in delta.changed}


def test_a_time_that_is_still_to_come_hides_nothing_that_is_modified_later():
    server = Server(ann=-86_400, eve=1_000_000)
    whole = steps(server, None)[-1]
    assert whole == Whole(b"P%s %d" % (at(0), NOW))
    server.modified["new"] = at(5) + b"Z"
    *_, delta = steps(server, whole.cookie, "ann", "eve")
    assert b"new" in {entry.id for entry in delta.changed}
    steps(server, b"P%s %d" % (at(1_000_000), NOW), "ann", "eve")
    assert server.starts[-1] == at(-600), "the cookie is of before"
    assert not isinstance(delta, Current)
