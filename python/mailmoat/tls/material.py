"""What the TLS connections of a worker share: certificates, which are replaced when their files change, ticket keys, and the time.

Promises: what is in force is sound and stays so; a connection keeps what it began with. What cannot be used is logged once for as
long as it stays the same. Looks at the files every `LOOK_TIME` seconds; reads small files and blocks for as long as that takes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from mailmoat import clock, maillog
from mailmoat._native import TlsClock, TlsServer
from mailmoat.events import Event
from mailmoat.tls import certificates, state

if TYPE_CHECKING:
    from mailmoat.metrics import Metrics
    from mailmoat.settings import Settings
    from mailmoat.tls.certificates import Certificates
    from mailmoat.tls.ticket_secret import TicketSecret

LOOK_TIME: Final = 60.0
"""Seconds between two looks at the files."""


def open_material(
    settings: Settings, in_force: Certificates | None, secret: TicketSecret, metrics: Metrics
) -> TlsMaterial | None:
    """Return what the connections of a worker share; None when TLS is not used."""
    return TlsMaterial(settings, in_force, secret, metrics) if in_force is not None else None


class TlsMaterial:
    """What the connections of one worker share."""

    def __init__(self, settings: Settings, in_force: Certificates, secret: TicketSecret, metrics: Metrics) -> None:
        self._settings = settings
        self._in_force = in_force
        self._secret = secret
        self._metrics = metrics
        self._clock = TlsClock(clock.wall_ms() // 1000)
        self._refused: set[str] = set()
        self._next_look = clock.monotonic() + LOOK_TIME
        self.server = self._make()
        """For the connections that begin from now on."""
        self.look()  # a worker that takes the place of another gets what was read at the last reload

    def tick(self) -> None:
        """Work once a second."""
        now = clock.wall_ms() // 1000
        self._clock.set(now)
        self._secret.step(now)
        if clock.monotonic() >= self._next_look:
            self._next_look = clock.monotonic() + LOOK_TIME
            self.look()
        state.publish(self._metrics, self._in_force, now, refused=bool(self._refused))

    def look(self) -> None:
        """Look at the files now."""
        before = self._in_force
        self._in_force, replaced, problems = certificates.look(before, self._settings.hostname)
        if self._in_force != before:
            self.server = self._make()
        refused = {str(problem) for problem in problems}
        for sentence in sorted(refused - self._refused):
            maillog.event(Event.CERTIFICATE_REFUSED, detail=sentence, pid=os.getpid())
        self._refused = refused
        now = clock.wall_ms() // 1000
        for new in replaced:
            maillog.event(
                Event.CERTIFICATE_REPLACED,
                path=str(new.source.certificate),
                names=new.leaf.names,
                days=new.days_left(now),
                fingerprint=new.leaf.fingerprint,
                pid=os.getpid(),
            )

    def _make(self) -> TlsServer:
        rules, authorities = self._settings.tls, self._in_force.authorities
        return TlsServer(
            [loaded.identity for loaded in self._in_force.loaded],
            clock=self._clock,
            minimum=rules.minimum,
            client_certificates=rules.client_certificates,
            client_ca=authorities.pem if authorities else b"",
            tickets=rules.tickets,
            ticket_secret=self._secret.octets,
            ticket_rotation=self._secret.rotation,
            ticket_epoch=self._secret.epoch,
        )
