"""An LDAP server as a source that is read whole once, and that gives notice of each change then (RFC 4533, refreshAndPersist).

A server without that, or that gives no more than a part of a result at once, is read by `polling`. When a server fails, the next one goes
on from the cookie; a preferred one that serves again is used again. A server that is silent is asked something now and then: so one that
hangs is noticed, and what is known counts as fresh.
"""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat.directory.failover import follow
from mailmoat.directory.ldap import row_filters
from mailmoat.directory.ldap.access import servers_of
from mailmoat.directory.ldap.objects import EntryReader, Mapping
from mailmoat.directory.ldap.polling import poll, whole_is_due
from mailmoat.directory.ldap.probe import NO_SEQUENCE, better_scheme, probe, sees_sequence
from mailmoat.directory.ldap.refresh import Refresh, RefreshNeededError
from mailmoat.directory.source import Current, Delta, Remark, Using, Whole
from mailmoat.ldap import content_sync, outcome
from mailmoat.ldap.ber import GarbledError
from mailmoat.ldap.message import SearchRequest
from mailmoat.ldap.outcome import LdapError, ServerError
from mailmoat.ldap.root_dse import base_of, ping

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from mailmoat.directory.source import KnownIds, ProbeResult, Step
    from mailmoat.ldap.connection import Connection, Search
    from mailmoat.ldap.server import Server
    from mailmoat.settings.sections.directories import SourceSettings

REFRESH_PATIENCE: Final = 120.0
"""Seconds until the next answer while a server collects what changed."""
PING_INTERVAL: Final = 30.0
"""Seconds of silence after which a server is asked something."""
GATHER_TIME: Final = 0.2
"""Seconds for which changes are gathered that come at about the same time."""
_SYNCED: Final = b"S"
"""Before a cookie of RFC 4533."""
_COOKIE_REFUSED: Final = (outcome.SYNC_REFRESH_REQUIRED, outcome.UNWILLING_TO_PERFORM, outcome.PROTOCOL_ERROR)
"""slapd says the second of a cookie that is newer than its own state."""
_NOT_OFFERED: Final = (
    outcome.UNAVAILABLE_CRITICAL_EXTENSION,
    outcome.SIZE_LIMIT_EXCEEDED,
    outcome.ADMIN_LIMIT_EXCEEDED,
)


class _Method:
    """By which of the two methods a server is read, and from which cookie on."""

    def __init__(self, cookie: bytes | None) -> None:
        self.cookie = cookie
        self.polls = not whole_is_due(cookie)
        """By the time of modification. When all is to be read anyway, notice of changes is asked for first."""

    @property
    def synced(self) -> bytes | None:
        """The cookie, if it is one of RFC 4533."""
        return self.cookie.removeprefix(_SYNCED) if self.cookie and self.cookie.startswith(_SYNCED) else None

    @property
    def cookie_of_slapd(self) -> bool:
        """Whether slapd finds what changed since the cookie by entryCSN, within the rights of the account."""
        return not self.polls and b"csn=" in (self.synced or b"")

    def changes(self, error: ServerError) -> bool:
        """Return whether an answer leads to another method: a full read, or polling; and take it."""
        code = error.code if isinstance(error, LdapError) else None
        if code in _NOT_OFFERED and not self.polls:
            self.polls = True
            return True
        if code in _COOKIE_REFUSED and self.cookie is not None:
            self.cookie = None
            return True
        return False


class LdapSync:
    """The servers of one row. ConfigError for a filter that is none."""

    def __init__(self, row: SourceSettings) -> None:
        self._row = row
        self._servers = servers_of(row)
        self._mapping = Mapping.of(row)
        self._reader = EntryReader(self._mapping)
        row_filters.checked(row.name, row.filter or row_filters.ANYTHING)
        search_filter = row_filters.all_with_an_address(row.filter, self._mapping.attributes)
        self._filter = row_filters.checked(row.name, search_filter)

    def steps(self, cookie: bytes | None, known: KnownIds) -> AsyncGenerator[Step, None]:
        """See `SyncSource`. Goes on for ever where the server gives notice."""
        return follow(self._servers.preference, cookie, partial(self._at, known), self._servers.returns)

    async def probe(self) -> ProbeResult:
        """See `Probed`."""
        return await probe(self._row, self._servers, self._mapping, self._filter)

    async def _at(self, known: KnownIds, server: Server, cookie: bytes | None) -> AsyncGenerator[Step, None]:
        """Yield the steps of one server, by the method that it offers."""
        method = _Method(cookie)
        using = [Using(server.text)]
        while True:
            connection = await self._servers.open(server)
            try:
                while using:  # at the first connection
                    yield using.pop()
                async with aclosing(self._steps(connection, method, known)) as steps:
                    async for step in steps:
                        if isinstance(step, Whole | Delta | Current):
                            method.cookie = step.cookie
                        yield step
            except RefreshNeededError:
                method.cookie = None
            except ServerError as error:
                if not method.changes(error):
                    raise
            else:
                return
            finally:
                connection.close()

    async def _steps(self, connection: Connection, method: _Method, known: KnownIds) -> AsyncGenerator[Step, None]:
        """Yield the steps of one connection; what the server garbles is a ServerError."""
        for sentence in await better_scheme(connection):
            yield Remark(sentence)
        base = await base_of(connection, self._row.base)
        if method.cookie_of_slapd and not await sees_sequence(connection, base):
            yield Remark(NO_SEQUENCE)
            raise RefreshNeededError(NO_SEQUENCE)
        request = SearchRequest(base, self._filter, self._mapping.needed)
        if method.polls:
            found = poll(connection, request, self._reader, method.cookie, known)
        else:
            found = self._synced(
                connection, request, Refresh(self._reader, method.synced, known, self._row.shrink_limit)
            )
        try:
            async with aclosing(found) as steps:
                async for step in steps:
                    if (left_out := self._reader.left_out()) is not None:
                        yield left_out
                    yield step
        except GarbledError as error:
            raise ServerError(f"{connection.server.text}: what it sends is garbled: {error}") from None

    async def _synced(
        self, connection: Connection, request: SearchRequest, refresh: Refresh
    ) -> AsyncGenerator[Step, None]:
        """Yield the content, or what changed, and then each change."""
        control = content_sync.request(refresh.cookie)
        async with connection.search(request, [control], patience=REFRESH_PATIENCE) as answers:
            for step in refresh.begin():
                yield step
            async for answer in answers:
                for step in refresh.take(answer):
                    yield _marked(step)
                if refresh.over:
                    break
            if refresh.over:
                self._servers.served(connection.server)
                async with aclosing(self._followed(connection, answers, refresh)) as steps:
                    async for step in steps:
                        yield _marked(step)
            if answers.done is not None:
                for step in refresh.end(content_sync.end_in(answers.done)):
                    yield _marked(step)

    async def _followed(self, connection: Connection, answers: Search, refresh: Refresh) -> AsyncGenerator[Step, None]:
        """Yield each change, until the server ends that or a preferred one serves again."""
        while answers.done is None:
            if await answers.arrived(min(PING_INTERVAL, self._row.interval)):
                for step in await _gathered(answers, refresh):
                    yield step
            else:
                await ping(connection)
            for step in refresh.given():
                yield step
            if await self._servers.returns(connection.server):
                return


async def _gathered(answers: Search, refresh: Refresh) -> list[Step]:
    """Take the answers that come at about the same time; return what can be given before the rest of them."""
    given: list[Step] = []
    until = clock.monotonic() + GATHER_TIME
    while not given and (left := until - clock.monotonic()) > 0 and await answers.arrived(left):
        answer = await anext(answers, None)
        if answer is None:
            break
        given.extend(refresh.take(answer))
    return given


def _marked(step: Step) -> Step:
    """Return a step whose cookie shows that it is one of RFC 4533."""
    if isinstance(step, Whole | Delta | Current) and step.cookie is not None:
        return step._replace(cookie=_SYNCED + step.cookie)
    return step
