"""The keeper of a source in virtual time, and a source that gives the steps it is told."""

import asyncio
from contextlib import contextmanager
from unittest import mock

from tests.doubles.loop import VirtualLoop

from mailmoat import clock, maillog
from mailmoat.directory.bounds import Bounds
from mailmoat.directory.identity import Identity
from mailmoat.directory.pause import pause
from mailmoat.directory.source import Entry, Listed, Part
from mailmoat.directory_process.bounded import BoundedSync
from mailmoat.directory_process.keeper import Keeper
from mailmoat.directory_process.table import Table
from mailmoat.settings import Settings
from mailmoat.settings.sections.directories import merged

ANYTHING = Bounds(frozenset(), None, whole_domains=True, default_domain="", place="")


def read_by(name, bounds=ANYTHING):
    """An identity that has nothing but a name and bounds."""
    return Identity("", (name,), bounds)


def entry(number, domain="a.test"):
    return Entry(b"%d" % number, f"n{number}", (Listed(f"a{number}@{domain}"),))


def entries(most, first=0, domain="a.test"):
    return Part(tuple(entry(number, domain) for number in range(first, most)))


class Scripted:
    """A source whose reads are lists of steps; a number waits, an exception is raised, the last read repeats."""

    def __init__(self, *reads):
        self.reads = list(reads)
        self.cookies = []
        self.known = None
        self.open = 0

    async def steps(self, cookie, known):
        self.cookies.append(cookie)
        self.known = known
        read = self.reads.pop(0) if len(self.reads) > 1 else self.reads[0]
        self.open += 1
        try:
            for step in read:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, float):
                    await pause(step)
                else:
                    yield step
        finally:
            self.open -= 1


class World:
    """A keeper at work, on the table in a directory, which another one may have left there."""

    def __init__(self, directory, *reads, before=None, restore=None, **row):
        self.loop, self.log, self.changes = VirtualLoop(), [], 0
        tree = Settings(hostname="mx.test", directories=[{"name": "a", "url": "file:///x", "interval": "60s", **row}])
        merged_row = merged(tree.directory, tree.directories[0])
        identity = Identity.of(tree, merged_row)
        self.source = Scripted(*reads)
        self.table = Table(directory / f"{merged_row.name}.db", identity)
        self._patches = (
            mock.patch.multiple(clock, monotonic=self.loop.time, wall_ms=lambda: self.loop.now_ms),
            mock.patch.object(maillog._stream, "write", lambda name, level, fields: self.log.append((name, fields))),
        )
        for patch in self._patches:
            patch.start()
        bounded = BoundedSync(self.source, identity.bounds)
        more = {"restore": restore} if restore else {}
        self.keeper = Keeper(
            merged_row, bounded, self.table, changed=self.change, noted=lambda: None, before=before, **more
        )
        asyncio._set_running_loop(self.loop)
        self.task = self.loop.create_task(self.keeper.run())
        asyncio._set_running_loop(None)
        self.advance(0)

    def change(self):
        self.changes += 1

    def advance(self, seconds):
        self.loop.advance(self.loop.now_ms + round(seconds * 1000))
        assert not self.task.done(), self.task.exception()

    def end(self):
        self.task.cancel()
        self.loop.settle()
        assert self.task.cancelled()
        assert self.source.open == 0
        self.table.close()
        for patch in self._patches:
            patch.stop()

    @property
    def seen(self):
        fresh = self.keeper.freshness
        return fresh.state, self.table.entries

    @property
    def events(self):
        return [name for name, _ in self.log]


@contextmanager
def worlds(directory):
    """Give what makes worlds in one directory; they end with the context."""
    made = []

    def make(*reads, **row):
        made.append(World(directory, *reads, **row))
        return made[-1]

    yield make
    for each in reversed(made):  # what each patched is that of the one before
        each.end()
