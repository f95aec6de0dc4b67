"""What agents can be given: settings, metrics, the directory, lists of clients, checks of senders, trust.

An agent takes what it needs in its constructor. What costs something is made when the first agent takes it, so a server whose agents
ask no name server has no resolver.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

from mailmoat import clock
from mailmoat._native import Tables
from mailmoat.bounce_tags.tagger import Tagger
from mailmoat.directory.composed import ComposedDirectory
from mailmoat.directory.snapshot_directory import SnapshotDirectory
from mailmoat.dns_lists.lookups import DnsLookups
from mailmoat.limits.limiter import LimitClass
from mailmoat.limits.pressure import Pressure
from mailmoat.limits.rates import LocalRates
from mailmoat.lists import sources
from mailmoat.lists.lists import Lists
from mailmoat.mailauth.spf.checker import Checker
from mailmoat.policy.client import TrustRules
from mailmoat.policy.domain_lookups import DomainLookups
from mailmoat.policy.known_good import KnownGood
from mailmoat.policy.precedence import Precedences
from mailmoat.policy.sender_file import SenderFile, sender_file
from mailmoat.reputation.records import Records, is_recorded
from mailmoat.resolver.reverse_names import ReverseNames
from mailmoat.settings.section import Section
from mailmoat.watched_file import WatchedFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mailmoat.directory.directory import Directory
    from mailmoat.metrics import Metrics
    from mailmoat.resolver import Resolver
    from mailmoat.settings import Settings
    from mailmoat.watched_file import FileLog

BOUNCE_DNS_TIME: Final = 10.0
"""Seconds for the domain of one who would get a bounce."""


class NextHopOffers(Protocol):
    """What a next hop takes."""

    @property
    def smtputf8(self) -> bool:
        """Addresses and headers beyond ASCII."""

    def room(self, limit: int) -> int:
        """Return the octets of the largest content for it where our own limit is `limit`; 0 is no limit, in both."""


S = TypeVar("S", bound=Section)
T = TypeVar("T")


class Services:
    """The services of one worker; `make_resolver` is called once at most."""

    def __init__(
        self, settings: Settings, metrics: Metrics, directory: Directory | None, make_resolver: Callable[[], Resolver]
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self.offers_of: Callable[[str], NextHopOffers] = _unrouted
        """What the next hop of a recipient's domain takes; set before agents are made, where there are routes."""
        self.directory = directory
        """None when none is configured."""
        self.lists = Lists(sources.snapshot(settings))
        self.trust = TrustRules(settings, self.lists)
        self.watched: list[WatchedFile[Any]] = []
        """The files that agents keep in memory."""
        self._make_resolver = make_resolver

    def has_guessed(self, address: str) -> bool:
        """Return whether this address has failed to authenticate so often that it may not try now."""
        return self.rates.is_spent(LimitClass.AUTH_FAILURES, address)

    def section(self, kind: type[S]) -> S:
        """Return the section of this class of the settings; KeyError when they have none."""
        sections = {type(section): section for _, section in self.settings if isinstance(section, Section)}
        return cast("S", sections[kind])

    def watch(self, path: Path, read: Callable[[Path], T], log: FileLog) -> WatchedFile[T]:
        """Read a file now and whenever it changes: see `WatchedFile`."""
        file = WatchedFile(path, read, log)
        self.watched.append(file)
        return file

    @cached_property
    def records(self) -> Records:
        """What is remembered of sources."""
        return Records(self.settings, self.metrics, lambda address: self.trust.of(address).judged)

    @property
    def reputation(self) -> Records | None:
        """Where to note what a source does; None when nothing uses it."""
        return self.records if is_recorded(self.settings) else None

    @cached_property
    def resolver(self) -> Resolver:
        """The worker's resolver."""
        return self._make_resolver()

    @cached_property
    def precedences(self) -> Precedences:
        """Who has to wait when the server is short of something."""
        settings = self.settings
        pressure = Pressure(settings.pressure, settings.spool_dir, self.metrics, self.tables.press)
        known_good = KnownGood(self.known_good)
        return Precedences(pressure, self.reputation, settings.reputation.block_level, known_good)

    @cached_property
    def rates(self) -> LocalRates:
        """What clients may do in a time."""
        return LocalRates(self.settings.limits, self.metrics)

    @cached_property
    def tables(self) -> Tables:
        """What the conditions of agents are looked up in."""
        tables = Tables(self.rates.native, clock.steady)
        self.lists.file.watch(tables.use_lists)
        if self.sender_file is not None:
            self.sender_file.file.watch(tables.use_senders)
        directory = self.directory
        snapshot = directory.snapshot if isinstance(directory, ComposedDirectory) else directory
        if isinstance(snapshot, SnapshotDirectory):
            snapshot.file.watch(tables.use_recipients)
        return tables

    @cached_property
    def reverse_names(self) -> ReverseNames | None:
        """The verified names of clients; None when they are not looked up."""
        return ReverseNames(self.resolver, self.settings.dns) if self.settings.dns.reverse_time else None

    @cached_property
    def dns_lists(self) -> DnsLookups | None:
        """The block and allow lists in the DNS; None without any."""
        settings = self.settings.dns_lists
        return DnsLookups(settings, self.resolver, self.metrics) if settings.providers else None

    @cached_property
    def known_good(self) -> Callable[[str], bool] | None:
        """Whether a client's address is on an allow list in the DNS, from the first RCPT of a session on; None without such a list."""
        allow = any(provider.kind == "allow" for provider in self.settings.dns_lists.providers)
        return self.dns_lists.is_allowed if allow and self.dns_lists is not None else None

    @cached_property
    def sender_file(self) -> SenderFile | None:
        """The file of blocked senders; None when none is set."""
        return sender_file(self.settings)

    @cached_property
    def sender_lookups(self) -> DomainLookups | None:
        """The domains of senders to which bounces may go; None where they are not looked up."""
        ndr = self.settings.ndr
        if not (ndr.enabled and ndr.check_domain):
            return None
        return DomainLookups(self.resolver, ("MX", "A", "AAAA"), BOUNCE_DNS_TIME)

    @cached_property
    def tagger(self) -> Tagger:
        """The tags of bounce addresses; made only where they are on."""
        return Tagger(self.settings)

    @cached_property
    def checker(self) -> Checker:
        """Checks whether a host may send for a domain, by SPF and Sender ID."""
        return Checker(self.resolver, void_lookups=self.settings.senderid.void_lookups)

    def tick(self) -> None:
        """Work once a second: test the lists in the DNS when it is time, and renew the keys of bounce tags."""
        if self.dns_lists is not None:
            self.dns_lists.tick()
        if self.settings.bounce_tags.mode != "off":
            self.tagger.tick()

    async def close(self) -> None:
        """End the lookups of clients that run."""
        for lookups in (self.reverse_names, self.dns_lists):
            if lookups is not None:
                await lookups.close()
        if isinstance(self.directory, ComposedDirectory):
            self.directory.close()


def _unrouted(domain: str) -> NextHopOffers:
    raise RuntimeError(f"nobody knows the next hops, such as that of {domain}")
