"""The lookups and values that pyspf uses in a check: names through our resolver, addresses as integers, our macros.

Everything here replaces a method of pyspf 2.0.14 of the same name; the walk through records is `spf_check`. Every question to the
DNS goes through `dns`, which pyspf's own lookup hangs below, so that one is never reached. Differences that matter:

* an error under `ptr` or `%{p}` passes over that name (RFC 7208 5.5), and void answers there do not count: answers of the client's own
  zone must not turn a fail into an error;
* void answers are counted once a term, as the RFC says it (RFC 7208 4.6.4), not once a host of an `mx`;
* each answer is requested once in a check, however short its TTL, and none after a match.

Raises `spf.TempError` and `spf.PermError`, which pyspf's `check` turns into results.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import spf  # type: ignore[import-untyped]

from mailmoat.mailauth.results import Step, one_line
from mailmoat.mailauth.spf import macros
from mailmoat.mailauth.spf.greenlet_adapter import ask
from mailmoat.net.address import without_zone
from mailmoat.resolver import Failed, Failure, Found, NoName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mailmoat.mailauth.results import CheckRequest, Kinds, Scope
    from mailmoat.resolver import Answer, Kind, Resolver


class Lookups(spf.query):  # type: ignore[misc]  # it has no types
    """A pyspf query that never asks on its own."""

    address: int

    def __init__(
        self, request: CheckRequest, domain: str, resolver: Resolver, void_limit: int, trace: list[Step] | None
    ) -> None:
        local, at, _ = request.mailbox.rpartition("@")  # a local part may hold an @
        mailbox = request.mailbox if local or not at else f"postmaster{request.mailbox}"  # RFC 7208 4.3
        super().__init__(i="", s=mailbox, h=request.helo_name, receiver=request.receiver, querytime=0)
        self.set_ip(request.ip)
        self.l = local or "postmaster"
        self.o = self.d = domain
        self.scope: Scope = request.scope
        self.resolver = resolver
        self.void_limit = void_limit
        self.trace = trace
        self.depth = 0
        self.under_ptr = False
        """Names of the client's own choice are being looked up."""
        self.is_void = False
        """The term at hand has been counted as void."""
        self.answers: dict[tuple[str, Kind], Answer] = {}
        self.letters: set[str] = set()
        """Macro letters that were expanded."""
        self.pointers: list[str] | None = None
        """Names of the client that lead back to it; None: not asked yet."""

    def note(self, kind: Kinds, text: str, outcome: str) -> None:
        """Add a step to the trace, when there is one."""
        if self.trace is not None:
            self.trace.append(Step(self.depth, kind, one_line(text), one_line(outcome)))

    def dns_txt(self, domainname: str, rr: Kind = "TXT", ignore_void: bool = False) -> list[bytes]:  # noqa: FBT001, FBT002 - pyspf's
        """Return the TXT records, the strings of each joined without a space (RFC 7208 3.3)."""
        return self.dns(domainname, rr, ignore_void=ignore_void)

    def dns(self, name: str, qtype: Kind, cnames: None = None, ignore_void: bool = False) -> list[Any]:  # noqa: ARG002, FBT001, FBT002 - pyspf's
        """Return the records of `name`; [] when it has none or can have none. TempError: not known; PermError: too many voids."""
        answer = self._answer(name.removesuffix(".").lower(), qtype)
        if isinstance(answer, Found):
            return list(answer.records)
        if isinstance(answer, Failed):
            if self.under_ptr or answer.reason is Failure.MALFORMED:
                return []
            raise spf.TempError(f"{qtype} of {name}: {answer.reason.value}")
        if not (ignore_void or self.under_ptr or self.is_void):
            self.is_void = True
            self.void_lookups += 1
            if self.void_lookups > self.void_limit:
                raise spf.PermError(f"Void lookup limit of {self.void_limit} exceeded", name)
        return []

    def _answer(self, name: str, kind: Kind) -> Answer:
        known = self.answers.get((name, kind))
        if known is not None:
            return known
        if not name or not name.isascii():  # RFC 8616 4: a local part beyond ASCII makes no name
            return Failed(Failure.MALFORMED)
        answer = ask(self.resolver, name, kind)
        self.answers[name, kind] = answer
        if self.trace is not None:
            self.note("lookup", f"{kind} {name}", _describe_answer(answer))
        return answer

    def dns_mx(self, domainname: str) -> Iterator[str]:
        """Yield addresses of the domain's MX hosts, each queried when it is needed; PermError: more than ten (RFC 7208 4.6.4)."""
        hosts = self.dns(domainname, "MX")
        if len(hosts) > spf.MAX_MX:
            raise spf.PermError(f"More than {spf.MAX_MX} MX records returned", domainname)
        for _, host in sorted(hosts):
            yield from self.dns_a(host, self.A)

    def validated_ptrs(self) -> list[str]:
        """Return the client's names that lead back to it (RFC 7208 5.5), asked for once; a name with an error is passed over.

        When one times out the rest is not asked for: the client's own servers could use up the time of the whole check.
        """
        if self.pointers is None:
            self.under_ptr = True
            try:
                self.pointers = []
                family: Kind = "AAAA" if self.v == "ip6" else "A"
                for name in self.dns_ptr(self.i)[: spf.MAX_PTR]:
                    if self.cidrmatch(self.dns_a(name, family), self.cidrmax):
                        self.pointers.append(name)
                    if self.answers.get((name, family)) == Failed(Failure.TIMEOUT):
                        break
            finally:
                self.under_ptr = False
        return self.pointers

    def getp(self) -> str:
        """Return the value of `%{p}`: the current domain, else a name below it, else any (RFC 7208 7.3)."""
        names = self.validated_ptrs()
        domain = self.d.lower()
        below = next((name for name in names if name.endswith(f".{domain}")), None)
        self.p = domain if domain in names else below or (names[0] if names else "unknown")
        return self.p

    def value_of(self, letter: str) -> str:
        """Return what a macro letter stands for."""
        self.letters.add(letter)
        return self.getp() if letter == "p" else str(getattr(self, letter))

    def expand(self, s: str, stripdot: bool = True) -> str:  # noqa: FBT001, FBT002 - pyspf's
        """Expand macros; PermError when they are none."""
        try:
            if stripdot:
                return macros.expand_domain(s, self.value_of)
            return macros.expand(s, self.value_of, explanation=True)
        except macros.MacroError as error:
            raise spf.PermError(str(error), s) from None

    def expand_domain(self, arg: str) -> str:
        """Check and expand a domain-spec."""
        try:
            macros.check_domain(arg)
        except macros.MacroError as error:
            raise spf.PermError(str(error), arg) from None
        return self.expand(arg)

    def set_ip(self, i: str) -> None:
        """Set the client's address; one that is IPv4 in IPv6 is IPv4 (RFC 7208 5). PermError: it is none."""
        try:
            address = without_zone(i)
        except ValueError as error:
            raise spf.PermError(str(error)) from None
        self.address = int(address)
        self.c = str(address)
        self.iplist = False
        if address.version == 6:  # noqa: PLR2004
            self.A, self.v, self.cidrmax = "AAAA", "ip6", 128
            self.i = ".".join(f"{self.address:032X}")
        else:
            self.A, self.v, self.cidrmax = "A", "in-addr", 32
            self.i = self.c

    def cidrmatch(self, ipaddrs: Iterable[str], n: int) -> bool:
        """Return whether the client is in a network of `n` bits around one of the addresses."""
        shift = self.cidrmax - n
        return any((self.address ^ number(text)) >> shift == 0 for text in ipaddrs)


@lru_cache(8192)
def number(address: str) -> int:
    """Return an address as an integer; ValueError: it is none."""
    return int(ip_address(address))


def _describe_answer(answer: Answer) -> str:
    if isinstance(answer, Found):
        return f"{len(answer.records)} found"
    if isinstance(answer, Failed):
        return f"failed: {answer.reason.value}"
    return "no such name" if isinstance(answer, NoName) else "no such record"
