"""The lists in the forms of other programs: our own text, CIDR, JSON, nftables. Pure: gives text, a line or more at a time.

`cidr` and `nft` are for firewalls: what is blocked in the end (`lists.ranges`), not each entry.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from mailmoat._native import EntryList, list_time_text
from mailmoat.lists.ranges import FOR_EVER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mailmoat._native import ListEntry
    from mailmoat.lists.ranges import Range

TABLE: Final = "mailmoat"
"""Name of the table of nftables."""


def document(entry: ListEntry) -> dict[str, Any]:
    """Return an entry as JSON has it; times are RFC 3339, null when there is none."""
    return {
        "list": "allow" if entry.allows else "block",
        "prefix": entry.prefix,
        "since": list_time_text(entry.since) if entry.since else None,
        "until": list_time_text(entry.until) if entry.until else None,
        "reason": entry.reason,
        "source": str(entry.source),
    }


def text(entries: Iterable[ListEntry]) -> Iterator[str]:
    """Yield the lines of a file of a list, as `import` takes them."""
    gathered = EntryList()
    for entry in entries:
        gathered.add(entry.prefix, entry.since, entry.until, entry.reason)
    yield gathered.text().decode()


def as_json(entries: Iterable[ListEntry]) -> Iterator[str]:
    """Yield one JSON document."""
    yield json.dumps([document(entry) for entry in entries], indent=2, ensure_ascii=False) + "\n"


def cidr(ranges: Iterable[Range]) -> Iterator[str]:
    """Yield a prefix a line, without any that another one contains."""
    for one in ranges:
        for network in one.prefixes():
            yield f"{network}\n"


def nft(ranges: Sequence[Range], ports: Sequence[int], now: int) -> Iterator[str]:
    """Yield a file for `nft -f` that replaces the table `inet mailmoat`: two sets and a chain that drops new connections to these ports."""
    yield f"# Clients on the block list of mailmoat, as of {list_time_text(now)}.\n"
    yield f"table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n"
    for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        yield f"\tset blocked{version} {{\n\t\ttype {kind}\n\t\tflags interval, timeout\n"
        elements = [_element(one, now) for one in ranges if one.first.version == version]
        if elements:
            yield "\t\telements = {\n\t\t\t" + ",\n\t\t\t".join(elements) + "\n\t\t}\n"
        yield "\t}\n"
    listed = ", ".join(map(str, sorted(set(ports))))
    yield "\tchain input {\n\t\ttype filter hook input priority filter - 5; policy accept;\n"
    for family, version in (("ip", 4), ("ip6", 6)):
        yield f"\t\ttcp dport {{ {listed} }} {family} saddr @blocked{version} ct state new counter drop\n"
    yield "\t}\n}\n"


def _element(one: Range, now: int) -> str:
    addresses = str(one.first) if one.first == one.last else f"{one.first}-{one.last}"
    return addresses if one.until == FOR_EVER else f"{addresses} timeout {one.until - now}s"
