"""Warnings about sources of recipients: what is valid, and gives a password or the list of recipients away, or refuses or defers mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.net import address
from mailmoat.settings.notation import show_duration
from mailmoat.settings.sections.directories import sources
from mailmoat.settings.sections.directory_ldap import LDAP_FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailmoat.settings.source_url import SourceServer
    from mailmoat.settings.tree import Settings


def directory_warnings(settings: Settings) -> Iterator[str]:
    """Yield one plain sentence for each setting that an administrator probably did not intend."""
    yield from _in_clear(settings)
    yield from _refusing(settings)
    yield from _spellings(settings)


def _in_clear(settings: Settings) -> Iterator[str]:
    for row in settings.directories:
        if row.url.family not in LDAP_FAMILIES or row.tls == "verify":
            continue
        secret = "the password of its account" if row.account else "what it says of recipients"
        for server in row.url.servers:
            if not server.host or _is_here(server):
                continue
            if row.tls == "none" and server.scheme in {"ldap", "ad"}:
                yield (
                    f"directories, {row.name}: tls is none: {secret} crosses the network to {server.host} in clear. "
                    'Write tls = "verify", which uses StartTLS'
                )
            else:
                yield (
                    f"directories, {row.name}: tls is {row.tls}: who can change packets on the way to {server.host} can pose as it, "
                    f'and gets or changes {secret}. Name its CA in tls_ca and write tls = "verify"'
                )


def _spellings(settings: Settings) -> Iterator[str]:
    known = {*settings.relay.local_domains, *settings.relay.unfiltered_domains}
    rows = sources(settings.directory, settings.directories)
    for each in settings.recipient_domains:
        for domain in each.domains:
            if domain not in known:
                yield f"recipient_domains has {domain}, which is not in relay.local_domains: its recipients are not looked up"
            for row in rows if each.case == "keep" else ():
                asked = row.mode == "live" and row.url.family != "next_hop"
                if (asked or row.url.family == "ad") and (not row.domains or domain in row.domains):
                    yield (
                        f"recipient_domains: case is keep at {domain}, and the source {row.name} does not distinguish upper and lower case. "
                        'Use a source with mode = "sync" that is not ad://, or next_hop:'
                    )


def _refusing(settings: Settings) -> Iterator[str]:
    rows = sources(settings.directory, settings.directories)
    local = settings.relay.local_domains
    for row in rows:
        if row.mode == "sync" and row.max_age <= row.interval:
            yield (
                f"directories, {row.name}: max_age is {show_duration(row.max_age)}, not above interval ({show_duration(row.interval)}): "
                "it is too old before it is read again, and what is not found is deferred; set max_age to some intervals at least"
            )
        for domain in row.domains:
            if domain not in local:
                yield f"directories, {row.name}: domains has {domain}, which is not in relay.local_domains: its recipients are not looked up"
    if rows and settings.recipients.file is None and all(row.domains for row in rows):
        served = {domain for row in rows for domain in row.domains}
        for domain in local:
            if domain not in served:
                yield f"relay.local_domains has {domain}, and no source in directories has its recipients: every recipient there is refused"


def _is_here(server: SourceServer) -> bool:
    try:
        return address.parse(server.host).is_loopback
    except ValueError:
        return server.host == "localhost"
