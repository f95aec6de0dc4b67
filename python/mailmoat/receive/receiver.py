"""What the connections of one worker share: settings, the session machines' configuration, policy, store, timers, metrics.

Has the set of open connections, which a worker that ends drains. Counts sessions and connections. Decides nothing.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Protocol

from mailmoat import _native, clock
from mailmoat._native import Stage
from mailmoat.limits.limiter import CONNECTIONS_REFUSED, Limit, LimitClass
from mailmoat.mailauth.stored_results import encode
from mailmoat.metrics import CONNECTIONS, SESSIONS, Metrics
from mailmoat.net.address import Networks
from mailmoat.policy.filter_stamp import log_stamps
from mailmoat.policy.screens import Screens
from mailmoat.receive import client_name, submission
from mailmoat.receive.early_talkers import EarlyTalkers
from mailmoat.receive.front_servers import FrontServers
from mailmoat.receive.last_turns import LastTurns
from mailmoat.receive.timeouts import Timeouts

if TYPE_CHECKING:
    import asyncio

    from mailmoat._native import Tables
    from mailmoat.auth.authenticator import Authenticator
    from mailmoat.limits.limiter import Limiter, RateLimiter
    from mailmoat.mailauth.results import AuthResult
    from mailmoat.policy.client import Client, TrustRules
    from mailmoat.policy.pipeline import Pipeline
    from mailmoat.policy.precedence import Precedences
    from mailmoat.receive.guessers import Guessers
    from mailmoat.receive.handshakes import Handshakes
    from mailmoat.receive.held import HeldSessions
    from mailmoat.receive.stress import Stress
    from mailmoat.receive.view import View
    from mailmoat.reputation.evidence import Reputation
    from mailmoat.resolver.reverse_names import ReverseNames
    from mailmoat.runtime.spool import SpoolStore
    from mailmoat.runtime.timers import Timers
    from mailmoat.settings import Settings

OURS = ["X-MS-Exchange-Organization-", "X-MS-Exchange-Forest-", "X-Mailmoat-"]
"""Beginnings of the names of header fields that servers inside an organisation believe."""
INPUT_OCTETS = 16_384
"""Read at once: a held session keeps one read beyond its bound, and there may be tens of thousands of them."""
CONTENT_OCTETS = 131_072
"""Read at once of a content after a first full read of it: each read costs a crossing of all layers. Twice as much saves 2 percent more."""


class Open(Protocol):
    """An open connection."""

    def make_way_if_slow(self, window: float) -> None:
        """End if content has come too slowly for so many seconds."""

    def drain(self, *, at_once: bool) -> None:
        """End because the worker ends: between transactions, or `at_once`."""


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
        limiter: Limiter,
        precedences: Precedences,
        rates: RateLimiter,
        tables: Tables,
        trust: TrustRules,
        names: ReverseNames | None,
        held: HeldSessions,
        stress: Stress,
        handshakes: Handshakes,
        guessers: Guessers,
        metrics: Metrics,
        authenticator: Authenticator | None = None,
        reputation: Reputation | None = None,
    ) -> None:
        self.loop = loop
        self.settings = settings
        self.pipeline = pipeline
        self.store = store
        self.timers = timers
        self.held = held
        self.stress = stress
        self.handshakes = handshakes
        self.metrics = metrics
        self.limiter = limiter
        self.precedences = precedences
        self.trust = trust
        self.authenticator = authenticator
        self.reputation = reputation
        self.rates = rates
        self._weighs = rates.limits(LimitClass.BYTES)
        self.guessers = guessers
        self.names = names
        self.timeouts = Timeouts(settings.limits, timers)
        crossed = 1 << Stage.HELO if names else 0  # the name of a client is looked up from there on
        self.config = session_config(settings, store.partition.incoming_dir, pipeline.asked | crossed)
        self._screens = Screens(pipeline.stages, tables, crossed)
        self.held_input = settings.limits.held_input or 65_536
        self.asks_disconnect = pipeline.listens(Stage.DISCONNECT)
        self.input = memoryview(bytearray(INPUT_OCTETS))
        self.content_input = memoryview(bytearray(CONTENT_OCTETS))
        self.connections: set[Open] = set()
        self.last_turns = LastTurns(loop)
        self.front_servers = FrontServers(settings.smtp)
        self.early_talkers = EarlyTalkers(settings.smtp.early_talkers, metrics, reputation)
        self._proxies = Networks(settings.listen_proxy_networks)
        self.firewall = _native.HeaderFirewall(settings.hostname, OURS)
        self._tag = store.partition.tag
        self._numbers = count(1)
        self._date = (0, "")

    def offer(self, *, message_size: int, eight_bit: bool, smtputf8: bool, binary: bool) -> None:
        """Offer what the next hop accepts to new sessions; one that has begun keeps its offers."""
        self.config = self.config.offering(
            message_size=message_size, eight_bit=eight_bit, smtputf8=smtputf8, binary=binary
        )

    def next_session_id(self) -> str:
        """Return a session ID that is unique on the host for ever: the partition's tag and a number."""
        self.metrics.add(SESSIONS)
        return f"{self._tag}-{next(self._numbers):x}"

    def date(self, now_ms: int) -> str:
        """Return the time in the form of a header field; made once a second."""
        second = now_ms // 1000
        if second != self._date[0]:
            self._date = (second, clock.rfc5322_date(now_ms))
        return self._date[1]

    def opened(self, connection: Open) -> None:
        """Count a new connection."""
        self.stress.opened(len(self.connections) + 1)
        self.connections.add(connection)
        self.metrics.add(CONNECTIONS)

    def closed(self, connection: Open) -> None:
        """Remove the connection; it still counts for the limits until `give_back`."""
        self.connections.discard(connection)

    def fit(self) -> None:
        """Give back the room of connections that have left: a set or a dictionary keeps it, however few are in it."""
        self.connections = set(self.connections)
        self.stress.fit()

    def give_back(self, source: bytes) -> None:
        """Free the place of a connection; `source` is that of its `Admission`."""
        self.metrics.add(CONNECTIONS, -1)
        self.limiter.give_back(source)

    def screen(self, session: _native.Session, client: Client) -> None:
        """Give a session the screen of its client: again whenever policy sees another one in it."""
        if (screen := self._screens.of(client)) is not None:
            session.screen(screen)

    def turns_away(self, client: Client) -> bool:
        """Return whether a client that has just connected has to wait until the pressure is lower, and count it."""
        if not self.precedences.is_turned_away(client):
            return False
        self.metrics.add(CONNECTIONS_REFUSED[Limit.PRESSURE])
        return True

    def may_speak_proxy(self, peer: str) -> bool:
        """Return whether the host at this address may send a PROXY header."""
        return peer in self._proxies

    def message(
        self, session: _native.Session, view: View, stamps: bytes, results: tuple[AuthResult, ...]
    ) -> _native.Message | None:
        """Return the message of a session after COMMIT, under a queue id of its own; None when policy discards it."""
        now = clock.wall_ms()
        if stamps:
            log_stamps(stamps, view.session_id, self.metrics)
        if self.names is not None:
            if not view.client.name:
                client_name.learn(self.names, view, session, self.loop)
            stamps = client_name.stamp(self.names, view.client, self.settings.hostname) + stamps
        queue_id, date = self.store.next_queue_id(), self.date(now)
        if submission.is_submission(view.client):
            message_id = f"{queue_id}@{self.settings.hostname}"
            session.add_fields(submission.missing_fields(session.header, date=date, message_id=message_id))
        message = session.message(
            queue_id=queue_id,
            arrival=now,
            date=date,
            stamps=stamps,
            results=encode(results),
            firewall=None if view.client.trust.believed else self.firewall,
        )
        if self._weighs and message is not None and view.client.trust.judged:
            self.rates.charge(LimitClass.BYTES, view.client.address, message.size)
        return message


def session_config(settings: Settings, incoming_dir: str, asked: int) -> _native.SessionConfig:
    """Return the session machines' configuration, which offers everything; seconds become milliseconds here."""
    limits = settings.limits
    return _native.SessionConfig(
        hostname=settings.hostname,
        default_domain=settings.relay.default_domain or "",
        incoming_dir=incoming_dir,
        asked=asked,
        tarpit_time=round(settings.tarpit.time * 1000),
        tarpit_max_session=round(settings.tarpit.max_session * 1000),
        auth_time=round(settings.tarpit.auth_time * 1000),
        auth_failures=limits.auth_failures,
        local_part=limits.local_part,
        domain=limits.domain,
        path=limits.path,
        command_line=limits.command_line,
        text_line=limits.text_line,
        recipients=limits.recipients,
        null_sender_recipients=limits.null_sender_recipients,
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
        chunking=settings.smtp.chunking,
        normalisation=settings.normalisation,
    )
