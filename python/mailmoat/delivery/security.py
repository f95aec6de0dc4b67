"""How the connections to one next hop are secured, and who we are there.

A connection whose account or certificate cannot be used is not made: what waits is deferred, and never sent without it. Where TLS is not
required and fails, the address is spoken to in clear for an hour. Each state that an administrator has to know of is logged once, until
it ends. Counts the connections by what became of TLS.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mailmoat import clock, maillog
from mailmoat._native import Client
from mailmoat.delivery.account import AccountError, account_of
from mailmoat.delivery.handshake import Handshakes, Secured
from mailmoat.delivery.tls_policy import NO_TLS, TlsLevel
from mailmoat.events import Event
from mailmoat.metrics import Family

if TYPE_CHECKING:
    from mailmoat.delivery.account import Account
    from mailmoat.delivery.tls_policy import TlsPolicy
    from mailmoat.metrics import Metrics
    from mailmoat.settings import NextHop
    from mailmoat.settings.sections.delivery import NextHopSettings
    from mailmoat.tls.certificate_file import CertificateError

IN_CLEAR: Final = 3600.0
"""Seconds for which an address with which TLS failed is spoken to in clear."""
MOST_IN_CLEAR: Final = 1000
"""Addresses of which that is remembered."""
MOST_POLICIES: Final = 100
"""Policies whose files and sessions are kept."""
UNUSABLE_ACCOUNT: Final = "454 4.7.8 Not authenticated: the account of this server cannot be used"
UNUSABLE_CERTIFICATE: Final = "454 4.7.5 TLS cannot be begun: a certificate file of this server cannot be used"
"""No file is named: bounces go to anybody."""


class TlsOutcome(StrEnum):
    """What became of TLS on a connection to a next hop."""

    CLEAR = "clear"
    """It was not offered, or not asked for."""
    ENCRYPTED = "encrypted"
    VERIFIED = "verified"
    FAILED = "failed"


class Insecurity(StrEnum):
    """Why messages wait: the reason in the log."""

    ACCOUNT = "account"
    """`delivery.auth_name` cannot be used."""
    TLS = "tls"
    """TLS is required and does not come about."""
    CERTIFICATE = "certificate"
    """`delivery.tls_certificate`, `tls_key` or `tls_ca` cannot be used; those read before stay in force."""


CONNECTIONS: Final = Family(
    "mailmoat_next_hop_connections_total", "Connections to next hops, by what became of TLS.", {"tls": TlsOutcome}
)


class Security:
    """Of the connections of one destination; the next hop is given in its written form, for the log."""

    def __init__(
        self,
        next_hop: str,
        *,
        account: Account | None = None,
        metrics: Metrics | None = None,
        handshakes: dict[TlsPolicy, Handshakes] | None = None,
        callout: bool = False,
    ) -> None:
        """Take what others may share: `handshakes`, by policy. `callout`: its connections only ask whether recipients exist."""
        self._next_hop = next_hop
        self._callout = callout
        self._handshakes = {} if handshakes is None else handshakes
        self._account = account
        self._metrics = metrics
        self._in_clear: dict[str, float] = {}
        self._logged: dict[Insecurity, str] = {}

    def prepare(
        self,
        peer: str,
        helo_name: str,
        policy: TlsPolicy,
        *,
        lmtp: bool = False,
        xclient: bool = False,
        chunking: bool = True,
    ) -> Secured:
        """Return what a connection to this address is made with. Raises AccountError and CertificateError."""
        handshakes, level = None, TlsLevel.NONE
        # What was found where TLS is optional counts for nothing where it is required, as TLSA records of a host may require it.
        in_clear = policy.level is TlsLevel.MAY and self._in_clear.get(peer, 0.0) > clock.monotonic()
        if policy.level is not TlsLevel.NONE and not in_clear:
            handshakes, level = self._of(policy), policy.level
            handshakes.prepare()
            self._log(Insecurity.CERTIFICATE, handshakes.refused)
        credentials = self._account.credentials() if self._account is not None else None
        client = Client(
            helo_name,
            lmtp=lmtp,
            tls=level,
            credentials=credentials,
            xclient=xclient,
            chunking=chunking,
            callout=self._callout,
        )
        return Secured(client, handshakes, policy.implicit)

    def _of(self, policy: TlsPolicy) -> Handshakes:
        """Return the handshakes under one policy; those used last are kept."""
        handshakes = self._handshakes.pop(policy, None) or Handshakes(policy)
        if len(self._handshakes) >= MOST_POLICIES:
            del self._handshakes[next(iter(self._handshakes))]
        self._handshakes[policy] = handshakes
        return handshakes

    def unusable(self, error: AccountError | CertificateError) -> str:
        """Take why nothing could be prepared, for the log; return the reply for what waits, which senders read in their bounces."""
        if isinstance(error, AccountError):
            self._log(Insecurity.ACCOUNT, str(error))
            return UNUSABLE_ACCOUNT
        self._log(Insecurity.CERTIFICATE, str(error))
        return UNUSABLE_CERTIFICATE

    def opened(self, peer: str, client: Client) -> bool:
        """Take the end of a connection's setup; return whether another one in clear is to be tried at once.

        A client that was neither refused nor set up has had no connection: that says nothing of TLS.
        """
        refusal, facts = client.refusal, client.tls
        if refusal is None and client.offers is None:
            return False
        if refusal is None:
            self._log(Insecurity.ACCOUNT, "")
            self._log(Insecurity.TLS, "")
        elif client.authentication_refused:
            self._log(Insecurity.ACCOUNT, refusal[1])
        elif client.retry_in_clear:
            self._remember(peer)
            maillog.event(Event.NEXT_HOP_IN_CLEAR, next_hop=self._next_hop, peer=peer, detail=refusal[1])
        elif facts is None and (client.tls_fault is not None or refusal[1].startswith(NO_TLS)):
            self._log(Insecurity.TLS, refusal[1])
        self._count(client)
        return client.retry_in_clear

    def _count(self, client: Client) -> None:
        if self._metrics is None:
            return
        if client.retry_in_clear:
            outcome = TlsOutcome.FAILED
        elif client.tls is not None:
            outcome = TlsOutcome.VERIFIED if client.tls.verified else TlsOutcome.ENCRYPTED
        elif client.tls_fault is not None:
            outcome = TlsOutcome.FAILED
        elif client.refusal is None:
            outcome = TlsOutcome.CLEAR
        else:
            return
        self._metrics.add(CONNECTIONS[outcome])

    def _remember(self, peer: str) -> None:
        self._in_clear.pop(peer, None)
        if len(self._in_clear) >= MOST_IN_CLEAR:
            del self._in_clear[next(iter(self._in_clear))]
        self._in_clear[peer] = clock.monotonic() + IN_CLEAR

    def _log(self, reason: Insecurity, detail: str) -> None:
        """Log a detail once; an empty one ends the state."""
        before = self._logged.get(reason, "")
        self._logged[reason] = detail
        if detail not in {"", before}:
            maillog.event(Event.NEXT_HOP_NOT_SECURE, next_hop=self._next_hop, reason=reason, detail=detail)


def security_of(
    next_hop: NextHop,
    settings: NextHopSettings,
    metrics: Metrics | None,
    handshakes: dict[TlsPolicy, Handshakes] | None = None,
    *,
    callout: bool = False,
) -> Security:
    """Return how connections to a next hop are secured, with the account that the settings have."""
    account = account_of(settings)
    return Security(str(next_hop), account=account, metrics=metrics, handshakes=handshakes, callout=callout)
