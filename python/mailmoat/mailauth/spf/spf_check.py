"""One check of one mailbox's domain: with the grammar and the limits of pyspf 2.0.14 and our own evaluation of records.

From pyspf come the grammar of mechanisms, the limit of lookups and the order of a check; from `lookups` everything that is asked.
Ours are the choice of records (RFC 4406 4.4) and the walk through one (`check0`):

* a record's syntax is checked as a whole before anything is asked (RFC 7208 4.6), `%{p}` included;
* modifiers are recognised in upper and lower case; unknown ones may be repeated and are never expanded (RFC 7208 6);
* `exp=` is fetched after a fail of the whole check and never otherwise (RFC 7208 6.2);
* terms that depend on nothing else are parsed once for all checks;
* records and terms are bounded, so that no record costs more than some milliseconds.

Runs in a greenlet (`greenlet_adapter`). `check` turns PermError and TempError into results; other exceptions escape.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import spf  # type: ignore[import-untyped]

from mailmoat.mailauth.results import Step, one_line
from mailmoat.mailauth.spf import macros
from mailmoat.mailauth.spf.lookups import Lookups, number
from mailmoat.mailauth.spf.record import TooMany, select
from mailmoat.printable import is_printable_ascii
from mailmoat.resolver import NoName

if TYPE_CHECKING:
    from mailmoat.mailauth.results import CheckRequest
    from mailmoat.resolver import Resolver

MAX_RECORD: Final = 10_000
"""Octets of a record's terms; a name server's limit for one is 65,535, what is published stays under 2,000."""
MAX_TERMS: Final = 2_000
"""Terms of all records of one check."""

_PLAIN: Final = re.compile(r"[+?~-]?ip[46]:[0-9a-f:./]{2,60}\Z", re.IGNORECASE)
_MODIFIER: Final = re.compile(r"([a-z][a-z0-9_.-]*)=", re.IGNORECASE)


class Mechanism(NamedTuple):
    """A term that passed the check of its syntax."""

    text: str
    name: str
    argument: str | int
    """ip4 and ip6: the address; else the name, expanded."""
    prefix: int
    result: str


class Terms(NamedTuple):
    """A record, parsed."""

    mechanisms: list[Mechanism]
    redirect: str
    explanation: str


class SpfCheck(Lookups):
    """One check of one domain."""

    def __init__(
        self, request: CheckRequest, domain: str, resolver: Resolver, void_limit: int, trace: list[Step] | None
    ) -> None:
        super().__init__(request, domain, resolver, void_limit, trace)
        self.terms = 0
        self.explained_by = ("", "")
        """Domain and target of the `exp=` that speaks for the whole check."""

    @property
    def domain_is_missing(self) -> bool:
        """The domain that was asked about does not exist."""
        return isinstance(self.answers.get((self.o, "TXT")), NoName)

    def explain(self) -> str:
        """Return the text that the domain that failed the client gives for it (RFC 7208 6.2), "" when it has none that can be used."""
        self.d, target = self.explained_by
        if not target:
            return ""
        try:
            texts = self.dns_txt(self.expand_domain(target), ignore_void=True)
            if len(texts) != 1 or len(texts[0]) > MAX_RECORD or not is_printable_ascii(texts[0]):
                return ""
            return macros.expand(texts[0].decode(), self.value_of, explanation=True)
        except (macros.MacroError, spf.PermError, spf.TempError):
            return ""

    def check0(self, record: str, recursion: int) -> tuple[str, int, str]:
        """Return the result of one record; `recursion` is 0 in the record that was asked about and those it redirects to."""
        if not record:
            return "none", 250, ""
        terms = self._parse(record)
        if not recursion:
            self.explained_by = (self.d, terms.explanation)
        for mechanism in terms.mechanisms:
            if self._matches(mechanism, recursion):
                if not recursion:
                    self.mechanism = mechanism.text
                return mechanism.result, 250, ""
        return self._redirect(terms.redirect, recursion) if terms.redirect else ("neutral", 250, "")

    def _parse(self, record: str) -> Terms:
        mechanisms: list[Mechanism] = []
        modifiers = {"redirect": "", "exp": ""}
        for term in record.split(" ")[1:]:
            if not term:
                continue
            self.terms += 1
            if self.terms > MAX_TERMS:
                raise spf.PermError(f"More than {MAX_TERMS} terms")
            if _PLAIN.match(term):
                mechanisms.append(_parse_plain(term, self.v))
            elif modifier := _MODIFIER.match(term):
                self._parse_modifier(modifier[1].lower(), term, term[modifier.end() :], modifiers)
            else:
                mechanisms.append(self._parse_mechanism(term))
        return Terms(mechanisms, modifiers["redirect"], modifiers["exp"])

    def _parse_modifier(self, name: str, term: str, text: str, modifiers: dict[str, str]) -> None:
        try:
            if name not in modifiers:
                macros.check(text, explanation=True)
                return
            macros.check_domain(text)
        except macros.MacroError as error:
            raise spf.PermError(str(error), term) from None
        if modifiers[name]:
            raise spf.PermError(f"{name}= MUST appear at most once", term)
        modifiers[name] = text

    def _parse_mechanism(self, term: str) -> Mechanism:
        """Expand the name now, except `%{p}`, which needs a query and waits for its turn."""
        known, self.pointers = self.pointers, self.pointers or []
        try:
            return Mechanism(*self.validate_mechanism(term))
        except ValueError:  # int() of thousands of digits
            raise spf.PermError("Impossible number", term) from None
        finally:
            self.pointers = known

    def _matches(self, mechanism: Mechanism, recursion: int) -> bool:
        if self.trace is None:
            return self._try(mechanism, recursion)
        place = len(self.trace)
        self.depth += 1
        outcome = "error"
        try:
            outcome = mechanism.result if (matched := self._try(mechanism, recursion)) else "no match"
            return matched
        finally:
            self.depth -= 1
            self.trace.insert(place, Step(self.depth, "mechanism", one_line(mechanism.text), outcome))

    def _try(self, mechanism: Mechanism, recursion: int) -> bool:  # noqa: PLR0911 - one for each mechanism
        name, argument = mechanism.name, mechanism.argument
        if name in {"ip4", "ip6"}:
            family = "ip6" if name == "ip6" else "in-addr"
            shift = self.cidrmax - mechanism.prefix
            return bool(self.v == family and (self.address ^ int(argument)) >> shift == 0)
        if name == "all":
            return True
        self.check_lookups()
        self.is_void = False
        if self._matches_nothing(mechanism.text):
            return False
        if "%{p" in mechanism.text.lower():
            argument = self.validate_mechanism(mechanism.text)[2]
        if name == "include":
            return self._include(str(argument), mechanism.text, recursion)
        if name == "exists":
            return bool(self.dns_a(argument, "A"))
        if name == "a":
            return self.cidrmatch(self.dns_a(argument, self.A), mechanism.prefix)
        if name == "mx":
            return self.cidrmatch(self.dns_mx(str(argument)), mechanism.prefix)
        return bool(spf.domainmatch(self.validated_ptrs(), argument))

    def _matches_nothing(self, text: str) -> bool:
        """Return whether the name of the term would contain a local part that is not ASCII (RFC 8616 4); it is no mistake of the record."""
        if self.l.isascii() or not macros.names_mailbox(text):
            return False
        self.letters.add("l")
        return True

    def _include(self, domain: str, term: str, recursion: int) -> bool:
        result = self.check1(self.dns_spf(domain), domain, recursion + 1)[0]
        if result == "none":
            raise spf.PermError(f"No valid SPF record for included domain: {domain}", term)
        return bool(result == "pass")

    def _redirect(self, target: str, recursion: int) -> tuple[str, int, str]:
        self.check_lookups()
        self.is_void = False
        if self._matches_nothing(target):
            self.note("modifier", f"redirect={target}", "matches nothing")
            return "neutral", 250, ""
        domain = self.expand_domain(target)
        self.note("modifier", f"redirect={target}", f"goes on with {domain}")
        record = self.dns_spf(domain)
        if not record:
            raise spf.PermError("redirect domain has no SPF record", domain)
        result: tuple[str, int, str] = self.check1(record, domain, recursion)
        return result

    def dns_spf(self, domain: str) -> str | None:
        """Return the record of `domain` for our scope as `v=spf1` and its terms; None when there is none (RFC 7208 4.3, 4.5)."""
        if not all(0 < len(label) < 64 for label in domain.split(".")):  # noqa: PLR2004 - RFC 1035 2.3.4
            return None
        chosen = select(self.dns_txt(domain), self.scope)
        self.note("record", domain, "none" if chosen is None else str(chosen))
        if chosen is None:
            return None
        if isinstance(chosen, TooMany):
            raise spf.PermError(str(chosen), domain)
        if len(chosen.terms) > MAX_RECORD:
            raise spf.PermError(f"Record of {len(chosen.terms)} octets, more than {MAX_RECORD}", domain)
        if not is_printable_ascii(chosen.terms):
            raise spf.PermError("Record with octets that are no printable ASCII", domain)
        return f"v=spf1 {chosen.terms.decode()}"


_PROTOTYPES: Final = {"in-addr": spf.query("192.0.2.1", "", ""), "ip6": spf.query("2001:db8::1", "", "")}


@lru_cache(16384)
def _parse_plain(term: str, family: str) -> Mechanism:
    """Return the parsed term; an ip4 or ip6 term is the same in every record and short, so it is kept."""
    text, name, argument, prefix, result = _PROTOTYPES[family].validate_mechanism(term)
    try:
        return Mechanism(text, name, number(argument), prefix, result)
    except ValueError as error:
        raise spf.PermError(str(error), term) from None
