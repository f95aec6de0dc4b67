"""Makes the source of a row with the URL `next_hop:`, and says before a start what it can be asked for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from mailmoat.callout.source import NextHopSource
from mailmoat.delivery.route import route_table
from mailmoat.runtime import faults
from mailmoat.runtime.timers import Timers
from mailmoat.settings.source_url import NEXT_HOP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailmoat.metrics import Metrics
    from mailmoat.settings import Settings
    from mailmoat.settings.sections.directories import SourceSettings

_WHY: Final = {
    None: "no next hop is set for it",
    "maildir": "its messages go into a Maildir",
    "discard": "its messages are discarded",
    "mx": "its messages go to the servers in its MX records",
}


def open_next_hop(settings: Settings, row: SourceSettings, metrics: Metrics | None = None) -> NextHopSource:
    """Return the source of a row that is merged with `[directory]`, on the running loop; it connects when it is asked."""
    return NextHopSource(settings, row, Timers(asyncio.get_running_loop(), faults.deadline_failed), metrics)


def mistakes(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each domain of a row `next_hop:` whose next hop cannot be asked: its recipients would be unknown for ever."""
    table = route_table(settings)
    for number, row in enumerate(settings.directories, 1):
        if row.url.family != NEXT_HOP:
            continue
        for domain in row.domains or settings.relay.local_domains:
            hop = table.find(domain).next_hop
            if hop is None or hop.kind != "servers":
                yield (
                    f"directories[{number}].url = next_hop: {domain} cannot be asked for, because {_WHY[hop.kind if hop else None]}; "
                    f"name the other domains in directories[{number}].domains, or give {domain} a next hop such as smtp://host:25"
                )
