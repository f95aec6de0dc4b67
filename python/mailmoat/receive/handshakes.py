"""The TLS handshakes of one worker's clients: to whom TLS is offered, how many may be open, and what became of each.

A source whose client had no version or cipher suite in common with this server, and which has not done a handshake lately either, is not
offered STARTTLS for a while, at whatever worker it comes again: many senders never fall back to clear text by themselves, and their
messages would be lost. Beside that only guesses of passwords withhold the offer (`guessers`): an alert or a lost connection proves
nothing, and where people submit mail it is always made. What is offered, and what a handshake may cost, never depends on what
a client says. RFC 3207, RFC 8314 3.3.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, cast

from mailmoat import clock, maillog
from mailmoat._native import Incident, Step
from mailmoat.auth.authenticator import Identity
from mailmoat.auth.mechanism import AUTHENTICATED, Mechanism
from mailmoat.events import Event
from mailmoat.metrics import Family, single
from mailmoat.net import address
from mailmoat.net.address import Networks
from mailmoat.policy.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat._native import Session, TlsFacts, TlsServer
    from mailmoat.metrics import Metrics
    from mailmoat.policy.client import TrustRules
    from mailmoat.receive.guessers import Guessers
    from mailmoat.receive.view import View
    from mailmoat.settings import Settings


class HandshakeEnd(StrEnum):
    """What became of a handshake: the label in the metrics, and the reason in the log."""

    DONE = "done"
    RESUMED = "resumed"
    NOTHING_IN_COMMON = "nothing-in-common"
    FAILED = "failed"
    TIMEOUT = "timeout"
    DISCONNECTED = "disconnected"
    TOO_MANY = "too-many"


HANDSHAKES: Final = Family(
    "mailmoat_tls_handshakes_total", "TLS handshakes of clients, by what became of them.", {"outcome": HandshakeEnd}
)
HANDSHAKES_OPEN: Final = single("mailmoat_tls_handshakes_open", "TLS handshakes of clients that are not done yet.")
WITHHELD: Final = single(
    "mailmoat_tls_withheld_total",
    "Sessions that were not offered STARTTLS because of earlier handshakes of their source.",
)


# Here, since a member is slow to reach through its class.
DONE, RESUMED = HandshakeEnd.DONE, HandshakeEnd.RESUMED
NO_COMMON_TLS, TLS_DONE = Incident.NO_COMMON_TLS, Incident.TLS_DONE

PATIENCE: Final = 2.0
"""Seconds after which a handshake gives way to another where there are too many: those of clients that mean it take less."""


class Handshakes:
    """The handshakes of one worker; `server` gives what TLS connections share now, None where there is no TLS."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        trust: TrustRules,
        server: Callable[[], TlsServer | None],
        guessers: Guessers,
    ) -> None:
        tls = settings.tls
        self.seconds = tls.handshake_time
        self._metrics = metrics
        self._trust = trust
        self._server = server
        self._guessers = guessers
        self._offer = tls.offer
        self._required = Networks(tls.required_networks)
        self._never = Networks(tls.withhold_networks)
        self._withhold = round(tls.withhold)
        self._most = tls.handshakes
        self._most_per_source = tls.handshakes_per_source
        self._open: Counter[str] = Counter()
        self._oldest_first: dict[Session, tuple[float, Callable[[], None]]] = {}
        self._subjects = frozenset(name.lower() for name in tls.client_subjects)
        self._fingerprints = frozenset(tls.client_fingerprints)

    def prepare(self, session: Session, view: View) -> None:
        """Offer STARTTLS to the client of a new session, and demand it, where the settings say so."""
        client, listener = view.client, view.client.listener
        if listener.implicit_tls or self._server() is None:
            return
        if client.address in self._required:
            session.require_tls()
            session.offer_tls(True)
        elif self._offer or listener.submission:
            if self._is_withheld(client):
                view.client = replace(client, tls_refused=client.address not in self._never)
            else:
                session.offer_tls(True)

    def begin(self, session: Session, view: View, give_way: Callable[[], None]) -> Step:
        """Begin a handshake and count it; `give_way` ends it for another.

        Where there are too many, the client stays in clear; with implicit TLS it is closed.
        """
        client, server = view.client, self._server()
        source = address.site(client.address)
        crowded = self._most_per_source and self._open[source] >= self._most_per_source
        if server is None or crowded or not self._has_room():
            self._metrics.add(HANDSHAKES[HandshakeEnd.TOO_MANY])
            view.client = replace(client, tls_refused=True)
            return Step.CLOSE if client.listener.implicit_tls else session.refuse_tls()
        self._open[source] += 1
        self._oldest_first[session] = clock.monotonic(), give_way
        self._metrics.add(HANDSHAKES_OPEN)
        return session.start_tls(server)

    def done(self, session: Session, view: View) -> None:
        """Count a handshake that is done, and put what is known of the client now into the view (RFC 3207 4.2)."""
        client, facts = view.client, cast("TlsFacts", session.tls)
        self._leave(session, client, RESUMED if facts.resumed else DONE)
        if self._withhold and client.address:
            source, now = address.packed(client.address), int(clock.monotonic())
            self._metrics.shared.incident_add(TLS_DONE, source, now, self._withhold)
        identity = self._identity(facts) if facts.peer_fingerprint else None
        trust = self._trust.of(client.address)
        if identity is not None:
            trust = self._trust.authenticated(trust, identity)
        view.client = Client(client.address, client.listener, trust, client.name, facts, identity)
        if identity is not None:
            self._metrics.add(AUTHENTICATED[Mechanism.EXTERNAL])
            session.identify()

    def failed(self, session: Session, view: View, *, timeout: bool = False) -> None:
        """Count and log a handshake that will never be done, and withhold the next offer where that helps."""
        client, end = view.client, HandshakeEnd.TIMEOUT if timeout else _end(session)
        self._leave(session, client, end)
        offered = client.address and not (client.listener.implicit_tls or client.listener.submission)
        withheld = end is HandshakeEnd.NOTHING_IN_COMMON and self._withhold and offered
        if withheld:
            source, now = address.packed(client.address), int(clock.monotonic())
            self._metrics.shared.incident_add(NO_COMMON_TLS, source, now, self._withhold)
        maillog.event(
            Event.TLS_FAILED,
            session=view.session_id,
            client=client.address,
            reason=end,
            detail=session.tls_fault or "",
            withheld=self._withhold if withheld else 0,
        )

    def _is_withheld(self, client: Client) -> bool:
        if client.address in self._never:
            return True
        if not client.address or client.listener.submission:
            return False
        source, now = address.packed(client.address), int(clock.monotonic())
        withheld = self._has_failed(source, now) or not self._guessers.may_use_tls(source, now)
        if withheld:
            self._metrics.add(WITHHELD)
        return withheld

    def _has_failed(self, source: bytes, now: int) -> bool:
        """Return whether no handshake can be done with a source: one has failed so, and none was done."""
        incidents = self._metrics.shared.incidents
        failed = self._withhold and incidents(NO_COMMON_TLS, source, now)
        return bool(failed) and not incidents(TLS_DONE, source, now)

    def _identity(self, facts: TlsFacts) -> Identity | None:
        """Return who the certificate says the client is; None for one that is not listed."""
        if facts.peer_fingerprint in self._fingerprints:
            name = next(iter(facts.peer_names), facts.peer_subject) or facts.peer_fingerprint
            return Identity(name, Mechanism.EXTERNAL)
        named = next((name for name in (facts.peer_subject, *facts.peer_names) if name.lower() in self._subjects), None)
        return Identity(named, Mechanism.EXTERNAL) if named and facts.verified else None

    def _has_room(self) -> bool:
        """Return whether another handshake may begin. The oldest gives way: half-open ones from many sources would keep all others out."""
        if not self._most or len(self._oldest_first) < self._most:
            return True
        began, give_way = next(iter(self._oldest_first.values()))
        if clock.monotonic() - began < PATIENCE:
            return False
        give_way()
        return True

    def _leave(self, session: Session, client: Client, end: HandshakeEnd) -> None:
        del self._oldest_first[session]
        self._metrics.add(HANDSHAKES[end])
        self._metrics.add(HANDSHAKES_OPEN, -1)
        source = address.site(client.address)
        self._open[source] -= 1
        if not self._open[source]:
            del self._open[source]


def _end(session: Session) -> HandshakeEnd:
    if session.tls_nothing_in_common:
        return HandshakeEnd.NOTHING_IN_COMMON
    return HandshakeEnd.FAILED if session.tls_fault else HandshakeEnd.DISCONNECTED
