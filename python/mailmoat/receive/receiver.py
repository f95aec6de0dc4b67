"""What the connections of one worker share: settings, the session machines' configuration, policy, store, timers, metrics.

Made once per worker by worker.py. Knows the open connections, admits new ones within the limits, and counts.
"""

from __future__ import annotations

import socket  # noqa: TID251 - packs addresses, opens nothing
from typing import TYPE_CHECKING

from mailmoat import _native, clock
from mailmoat._native import Stage
from mailmoat.metrics import CONNECTIONS, CONNECTIONS_REFUSED, RECIPIENTS_REFUSED, SESSIONS, SOURCES_FULL, Metrics
from mailmoat.net.address import Networks
from mailmoat.policy.tarpit import Tarpit

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from mailmoat._native import Message, Shared
    from mailmoat.policy.pipeline import Pipeline
    from mailmoat.receive.connection import Connection
    from mailmoat.receive.held import HeldSessions
    from mailmoat.receive.stress import Stress
    from mailmoat.runtime.spool import SpoolStore
    from mailmoat.runtime.timers import Timers
    from mailmoat.settings import Settings

REASONS = {
    "relay": "relay",
    "not in the directory": "unknown",
    "blocked recipient": "blocked",
    "directory not available": "directory",
}
"""Label of the metric for each rule of an agent that refuses recipients."""
OURS = ["X-MS-Exchange-Organization-", "X-MS-Exchange-Forest-"]
"""Beginnings of the names of header fields that servers inside an organisation believe."""
INPUT_OCTETS = 16_384
"""Read at once: a held session keeps one read beyond its bound, and there may be tens of thousands of them."""


class Receiver:
    """The shared things of one worker's connections."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        settings: Settings,
        pipeline: Pipeline,
        store: SpoolStore,
        timers: Timers,
        held: HeldSessions,
        stress: Stress,
        metrics: Metrics,
        accepted: Callable[[Message], None],
    ) -> None:
        self.loop = loop
        self.settings = settings
        self.pipeline = pipeline
        self.store = store
        self.timers = timers
        self.held = held
        self.stress = stress
        self.metrics = metrics
        self.accepted = accepted
        self.tarpit = Tarpit(settings.tarpit)
        self.config = session_config(settings, store.partition.loose_dir, pipeline.asked)
        self.held_input = settings.limits.held_input or 65_536
        self.asks_disconnect = pipeline.listens(Stage.DISCONNECT)
        self.input = memoryview(bytearray(INPUT_OCTETS))
        self.connections: set[Connection] = set()
        self._proxies = Networks(settings.listen_proxy_networks)
        self._inside = Networks((*settings.relay.networks, *settings.senderid.internal_servers))
        self._firewall = _native.HeaderFirewall(settings.hostname, OURS)
        self._shared: Shared = metrics.shared
        self._sessions = 0
        self._date = (0, "")

    def offer(self, *, message_size: int, eight_bit: bool, smtputf8: bool) -> None:
        """Offer from now on what the next hop takes: to new sessions; one that has begun keeps what it was told."""
        self.config = self.config.offering(message_size=message_size, eight_bit=eight_bit, smtputf8=smtputf8)

    def next_session_id(self) -> str:
        """Unique among all sessions of the host, for ever: the partition's tag and a number."""
        self._sessions += 1
        self.metrics.add(SESSIONS)
        return f"{self.store.partition.tag}-{self._sessions:x}"

    def date(self, now_ms: int) -> str:
        """The time as a header field has it; made once a second."""
        second = now_ms // 1000
        if second != self._date[0]:
            self._date = (second, clock.rfc5322_date(now_ms))
        return self._date[1]

    def opened(self, connection: Connection) -> None:
        """A connection is there."""
        self.stress.opened(len(self.connections) + 1)
        self.connections.add(connection)
        self.metrics.add(CONNECTIONS)

    def closed(self, connection: Connection) -> None:
        """It is gone; what it took of the limits it still has, until `give_back`."""
        self.connections.discard(connection)
        self.stress.leaves(connection)

    def give_back(self, source: bytes) -> None:
        """A connection takes its place no longer; `source` is what `admit` gave."""
        self.metrics.add(CONNECTIONS, -1)
        if source:
            self._shared.source_leave(self.metrics.slot, source)

    def may_speak_proxy(self, peer: str) -> bool:
        """Whether the host at this address may tell us who its client is."""
        return peer in self._proxies

    def firewall(self, peer: str) -> _native.HeaderFirewall | None:
        """What a message of this client goes through: None for those inside, whose word is taken (RFC 8601 5)."""
        return None if peer in self._inside else self._firewall

    def admit(self, peer: str) -> tuple[bytes, str]:
        """Count a session of this source: what to `give_back`, and why it is refused, if it is."""
        limits = self.settings.limits
        crowded = limits.connections and self._shared.sum(CONNECTIONS) > limits.connections
        if crowded and not self.stress.make_room():
            self.metrics.add(CONNECTIONS_REFUSED["server"])
            return b"", "Too many connections; try again later"
        if not limits.connections_per_source or not peer:
            return b"", ""
        source = socket.inet_pton(socket.AF_INET6 if ":" in peer else socket.AF_INET, peer)
        count = self._shared.source_enter(self.metrics.slot, source)
        if count == 0:
            self.metrics.add(SOURCES_FULL)
            return b"", ""
        if count > limits.connections_per_source:
            self.metrics.add(CONNECTIONS_REFUSED["source"])
            return source, "Too many connections from your address; try again later"
        return source, ""

    def count_refusal(self, rule: str) -> None:
        """A recipient was refused by this rule of an agent."""
        reason = REASONS.get(rule)
        if reason is not None:
            self.metrics.add(RECIPIENTS_REFUSED[reason])


def session_config(settings: Settings, incoming_dir: str, asked: int) -> _native.SessionConfig:
    """The session machines' configuration, which offers everything; seconds become milliseconds here."""
    limits = settings.limits
    return _native.SessionConfig(
        hostname=settings.hostname,
        default_domain=settings.relay.default_domain or "",
        incoming_dir=incoming_dir,
        asked=asked,
        tarpit_time=round(settings.tarpit.time * 1000),
        tarpit_max_session=round(settings.tarpit.max_session * 1000),
        local_part=limits.local_part,
        domain=limits.domain,
        path=limits.path,
        command_line=limits.command_line,
        text_line=limits.text_line,
        recipients=limits.recipients,
        message_size=limits.message_size,
        header_size=limits.header_size,
        memory_content=limits.memory_content,
        content_memory=limits.content_memory,
        workers=settings.worker_count,
        hops=limits.hops,
        errors=limits.errors,
        idle_commands=limits.idle_commands,
        bare_newline=settings.smtp.bare_newline,
        nul_in_header=settings.smtp.nul_in_header,
        submitter=settings.senderid.enabled and settings.senderid.submitter,
    )
