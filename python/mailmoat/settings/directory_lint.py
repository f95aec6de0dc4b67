"""Warnings about sources of recipients: what is valid, and gives a password or the list of recipients away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.net import address
from mailmoat.settings.sections.directory_ldap import LDAP_FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailmoat.settings.source_url import SourceServer
    from mailmoat.settings.tree import Settings


def directory_warnings(settings: Settings) -> Iterator[str]:
    """Yield one plain sentence for each setting that an administrator probably did not intend."""
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


def _is_here(server: SourceServer) -> bool:
    try:
        return address.parse(server.host).is_loopback
    except ValueError:
        return server.host == "localhost"
