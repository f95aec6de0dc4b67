"""What a first connection to LDAP servers finds, for `mailmoat check-config`: server, base, entries, a sample, and what to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat.directory.ldap.attributes import missing
from mailmoat.directory.ldap.objects import EntryReader, id_of
from mailmoat.directory.source import ProbeResult
from mailmoat.ldap import content_sync, filters
from mailmoat.ldap.message import SearchEntry, SearchRequest
from mailmoat.ldap.outcome import SIZE_LIMIT_EXCEEDED, LdapError
from mailmoat.ldap.paging import paged
from mailmoat.ldap.root_dse import NO_ATTRIBUTE, base_of, is_active_directory, ping, read
from mailmoat.ldap.server import Transport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailmoat.directory.ldap.objects import Mapping
    from mailmoat.directory.ldap.servers import Servers
    from mailmoat.ldap.connection import Connection
    from mailmoat.settings.sections.directories import SourceSettings

MOST_COUNTED: Final = 100_000
"""Entries up to which they are counted."""
SAMPLE: Final = 3
_SEQUENCE: Final = filters.parse("(entryCSN=*)")
NO_SEQUENCE: Final = (
    "the account may not read entryCSN: all is read again after each interruption; permit it with olcAccess"
)


async def probe(row: SourceSettings, servers: Servers, mapping: Mapping, search_filter: bytes) -> ProbeResult:
    """Connect, and say what is there. Raises SourceError."""
    connection = await servers.connect()
    try:
        await ping(connection, row.timeout)
        base = await base_of(connection, row.base)
        request = SearchRequest(base, search_filter, mapping.needed)
        reader = EntryReader(mapping)
        sample = tuple([reader.entry(found, id_of(found)) for found in await _some(connection, request)])
        entries = await _count(connection, request)
        remarks = [] if entries != 0 else [f"no entry below {base} has an address and matches the filter"]
        if connection.server.transport is Transport.CLEAR:
            remarks.append(
                "the connection is in clear: anyone on the network path can read the password and change the answers"
            )
        remarks += await better_scheme(connection)
        if (left_out := reader.left_out()) is not None:
            remarks.append(left_out.example)
        if row.mode == "sync":
            remarks += await _notice(connection, base)
        remarks += await missing(connection, base, _named(row, mapping, found=entries != 0), row.timeout)
        return ProbeResult(connection.server.text, base, entries, sample, tuple(remarks))
    finally:
        connection.close()


async def sees_sequence(connection: Connection, base: str) -> bool:
    """Return whether the account may search by entryCSN: slapd gives nothing of what changed since a cookie to one that may not. Raises ServerError."""
    return bool(await _some(connection, SearchRequest(base, _SEQUENCE, (NO_ATTRIBUTE,))))


async def better_scheme(connection: Connection) -> list[str]:
    """Return a sentence for a server that is better read in another way. Raises ServerError."""
    if not await is_active_directory(connection):
        return []
    scheme = "ads" if connection.server.transport is Transport.TLS else "ad"
    return [
        f"{connection.server.text} is a domain controller of Active Directory: write {scheme}:// for it, which reads proxyAddresses and sees deletions"
    ]


def _named(row: SourceSettings, mapping: Mapping, *, found: bool) -> Iterator[tuple[str, str]]:
    """Yield the attributes of a row, each with its setting; those of the filter where nothing was found by it."""
    yield from (("attributes", name) for name in mapping.attributes)
    yield from (("target_attributes", name) for name in mapping.targets)
    if mapping.condition is not None:
        yield "condition", mapping.condition[0]
    if not found:
        yield from (("filter", name) for name in filters.attributes_in(row.filter or ""))


async def _some(connection: Connection, request: SearchRequest) -> list[SearchEntry]:
    """Return the first entries."""
    found: list[SearchEntry] = []
    try:
        async with connection.search(request._replace(size_limit=SAMPLE)) as answers:
            async for answer in answers:
                if isinstance(answer, SearchEntry):
                    found.append(answer)  # noqa: PERF401 - what came before the limit counts
    except LdapError as error:
        if error.code != SIZE_LIMIT_EXCEEDED:
            raise
    return found


async def _count(connection: Connection, request: SearchRequest) -> int | None:
    """Return how many entries there are; None for more than are counted."""
    count = 0
    async for page in paged(connection, request._replace(attributes=(NO_ATTRIBUTE,))):
        count += len(page)
        if count > MOST_COUNTED:
            return None
    return count


async def _notice(connection: Connection, base: str) -> list[str]:
    """Return a sentence when changes do not arrive as they could. Raises ServerError."""
    attributes = await read(connection, ("supportedControl", "configContext"))
    if content_sync.REQUEST.encode() not in attributes.get("supportedcontrol", []):
        return ["the server gives no notice of changes (RFC 4533): it is asked again after each interval"]
    return [NO_SEQUENCE] if "configcontext" in attributes and not await sees_sequence(connection, base) else []
