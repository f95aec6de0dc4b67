"""What a row of `[[directories]]` may list: at which domains, whether whole domains, and where its targets may lead. Values only.

Promises: what is not permitted never counts, whatever the source is and however it is asked. An address that is permitted is never lost over its
targets: it takes the place of each of them that is not permitted, so that no part of its mail gets lost unseen.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat._native import Address, normalise_domain
from mailmoat.directory.directory import Presence
from mailmoat.directory.source import MOST_TARGETS, Entry, Listed, LiveAnswer
from mailmoat.printable import printable
from mailmoat.settings.sections.directory import EVERY_DOMAIN

if TYPE_CHECKING:
    from mailmoat.settings import Settings
    from mailmoat.settings.sections.directories import SourceSettings

MOST_TARGETS_OF_ENTRY: Final = 100_000
"""Over all addresses of one entry. In a directory each address has all targets: so a hundred addresses may have a thousand."""
_SHOWN: Final = 100
_PARTS: Final = 4
"""Of `Bounds.text`."""


class Kind(Enum):
    """What was refused."""

    ADDRESS = auto()
    WHOLE_DOMAIN = auto()
    TARGET = auto()


class Refusal(NamedTuple):
    """Something that does not count."""

    kind: Kind
    sentence: str


class RefusedError(ValueError):
    """What does not count, with its sentence."""

    def __init__(self, kind: Kind, sentence: str) -> None:
        super().__init__(sentence)
        self.refusal = Refusal(kind, sentence)


class Bounds(NamedTuple):
    """Those of one row."""

    domains: frozenset[str]
    """At which its addresses are; none = at any."""
    targets: frozenset[str] | None
    """At which its targets are; None = at any."""
    whole_domains: bool
    """Whether `@example.com` counts, as every address of a domain or as another name of one: that may have every address."""
    default_domain: str
    """Of an address without one."""
    place: str
    """Where `domains` are, for the administrator."""

    @classmethod
    def of(cls, settings: Settings, row: SourceSettings) -> Bounds:
        """Return those of a merged row."""
        relay = settings.relay
        ours = frozenset((*relay.local_domains, *relay.unfiltered_domains))
        targets = None if EVERY_DOMAIN in row.target_domains else ours.union(row.target_domains)
        domains, place = (
            (frozenset(row.domains), "the domains of this source") if row.domains else (ours, "relay.local_domains")
        )
        return cls(domains, targets, row.whole_domains, relay.default_domain or "", place)

    @property
    def text(self) -> str:
        """All of it, the same for the same bounds."""
        targets = EVERY_DOMAIN if self.targets is None else ",".join(sorted(self.targets))
        return f"{','.join(sorted(self.domains))} {targets} {self.whole_domains} {self.default_domain}"

    @classmethod
    def read(cls, text: str) -> Bounds | None:
        """Return those that have this `text`, without their place; None when it is of none."""
        parts = text.split(" ")
        if len(parts) != _PARTS:
            return None
        domains, targets, whole_domains, default_domain = parts
        permitted = None if targets == EVERY_DOMAIN else _split(targets)
        return cls(_split(domains), permitted, whole_domains == str(True), default_domain, "")

    def within(self, others: Bounds) -> bool:
        """Return whether the others permit all that these permit."""
        domains = not others.domains or (bool(self.domains) and self.domains <= others.domains)
        targets = others.targets is None or (self.targets is not None and self.targets <= others.targets)
        whole_domains = others.whole_domains or not self.whole_domains
        return domains and targets and whole_domains and self.default_domain == others.default_domain

    def entry(self, entry: Entry) -> tuple[Entry, list[Refusal]]:
        """Return what counts of an entry, and what does not."""
        refusals: list[Refusal] = []
        addresses = []
        for one in _within_room(entry.addresses, refusals):
            try:
                addresses.append(self._listed(one, refusals))
            except RefusedError as error:
                refusals.append(error.refusal)
        if not refusals:
            return entry, refusals
        shown = _quoted(entry.name)
        named = [Refusal(kind, f"{sentence} ({shown})") for kind, sentence in refusals]
        return entry._replace(addresses=tuple(addresses)), named

    def answer(self, address: Address, answer: LiveAnswer) -> tuple[LiveAnswer, list[Refusal]]:
        """Return what counts of an answer about an address, and what does not."""
        if answer.presence is not Presence.EXISTS:
            return answer, []
        if (answer.whole_domain or answer.other_domain) and not self.whole_domains:
            refused = Presence.UNKNOWN if answer.targets and not answer.other_domain else Presence.ABSENT
            return LiveAnswer(refused, entry=answer.entry), [_whole(address.domain).refusal]
        if address.may_route and self.targets is not None:
            return LiveAnswer(Presence.ABSENT, entry=answer.entry), [_route(str(address)).refusal]
        targets, refusals = self._permitted(str(address), answer.targets_of(address))
        return (answer._replace(targets=targets, other_domain="") if refusals else answer), refusals

    def _listed(self, one: Listed, refusals: list[Refusal]) -> Listed:
        """Return what counts of an address; RefusedError when nothing does."""
        text = one.text.strip()
        if text.startswith("@"):
            return self._whole_domain(one, text, refusals)
        address = _parsed(text.removeprefix("!").strip())
        if address is None:
            raise RefusedError(Kind.ADDRESS, f"{_quoted(text)} is no address")
        domain = address.domain or self.default_domain
        self._check_domain(text, domain)
        if address.may_route and self.targets is not None and not text.startswith("!"):
            raise _route(text)
        own = str(address) if address.domain else f"{address}@{domain}"
        targets, refused = self._permitted(own, one.targets)
        refusals += refused
        return one if targets == one.targets else Listed(one.text, targets)

    def _whole_domain(self, one: Listed, text: str, refusals: list[Refusal]) -> Listed:
        """Return what counts of an entry for a whole domain."""
        try:
            domain = normalise_domain(text[1:])
        except ValueError:
            raise RefusedError(Kind.WHOLE_DOMAIN, f"{_quoted(text)} is no domain") from None
        self._check_domain(text, domain)
        if not self.whole_domains:
            raise _whole(domain)
        if len(one.targets) == 1 and (other := _domain(one.targets[0])) not in ("", domain):
            if not self._leads(other):
                raise RefusedError(Kind.TARGET, _elsewhere(text, one.targets[0], other))
            return one
        _, refused = self._permitted(text, one.targets)
        refusals += refused
        return Listed(one.text) if refused else one

    def _check_domain(self, text: str, domain: str) -> None:
        if domain and self.domains and domain not in self.domains:
            raise RefusedError(Kind.ADDRESS, f"{_quoted(text)}: {domain} is not in {self.place}")

    def _permitted(self, own: str, targets: tuple[str, ...]) -> tuple[tuple[str, ...], list[Refusal]]:
        """Return the targets of the address `own`, which takes the place of each that is refused, and what is refused."""
        if len(targets) > MOST_TARGETS:
            sentence = f"{_quoted(own)} has {len(targets)} targets, more than {MOST_TARGETS}, which are not used"
            return (), [Refusal(Kind.TARGET, sentence)]
        refused: list[Refusal] = []
        kept: list[str] = []
        for target in targets:
            sentence = self._mistake(own, target)
            kept.append(own if sentence else target)
            if sentence:
                refused.append(Refusal(Kind.TARGET, sentence))
        once = tuple(dict.fromkeys(kept))
        return (() if refused and once == (own,) else once), refused

    def _mistake(self, own: str, target: str) -> str:
        """Return why no mail to `own` is redirected to a target; empty when it is."""
        address = _parsed(target)
        if address is None:
            why = "which is no address"
        elif not address.domain:
            why = "which has no domain"
        elif address.may_route:
            why = "which another server may read as an address elsewhere"
        else:
            return "" if self._leads(address.domain) else _elsewhere(own, target, address.domain)
        return f"{_quoted(own)} has the target {_quoted(target)}, {why}"

    def _leads(self, domain: str) -> bool:
        return self.targets is None or domain in self.targets


def _split(domains: str) -> frozenset[str]:
    return frozenset(filter(None, domains.split(",")))


def _within_room(addresses: tuple[Listed, ...], refusals: list[Refusal]) -> tuple[Listed, ...]:
    """Return the addresses of an entry, without their targets where those are too many in all: else one entry would fill the disk and hold up others."""
    total = sum(len(one.targets) for one in addresses)
    if total <= MOST_TARGETS_OF_ENTRY:
        return addresses
    sentence = f"{len(addresses)} addresses have {total} targets, more than {MOST_TARGETS_OF_ENTRY}, which are not used"
    refusals.append(Refusal(Kind.TARGET, sentence))
    return tuple(one if one.text.startswith("@") else Listed(one.text) for one in addresses)


def _parsed(text: str) -> Address | None:
    """Return an address; None for text that is none."""
    try:
        return Address.parse(text)
    except ValueError:
        return None


def _domain(target: str) -> str:
    """Return the domain that a target `@domain` is; empty for another one."""
    try:
        return normalise_domain(target[1:]) if target.startswith("@") else ""
    except ValueError:
        return ""


def _route(text: str) -> RefusedError:
    sentence = f'{_quoted(text)} may be read by another server as an address elsewhere; it counts only with target_domains = "*"'
    return RefusedError(Kind.ADDRESS, sentence)


def _whole(domain: str) -> RefusedError:
    sentence = f"@{domain} stands for a whole domain, which counts only with whole_domains = true"
    return RefusedError(Kind.WHOLE_DOMAIN, sentence)


def _elsewhere(own: str, target: str, domain: str) -> str:
    where = f"{domain} is neither a domain of this server nor in target_domains"
    return f"{_quoted(own)} has the target {_quoted(target)}, which is not used, as {where}"


def _quoted(text: str) -> str:
    return printable(text[:_SHOWN])
