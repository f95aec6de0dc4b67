"""Refuse or stamp mail of clients whose HELO or EHLO name cannot be theirs.

RFC 5321 4.1.4: a server must not refuse a message because the name could not be verified. So each check is off by default, and `stamp` is what
is left to a server that keeps to it; `reject` is for names that are forged, such as ours. Judged is at RCPT, when it is known whether
the client has authenticated. Underscores and other signs that names of hosts have in practice are never held against a client.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from mailmoat._native import Condition, Stage, normalise_domain
from mailmoat.net import address as addresses
from mailmoat.net.own import is_own
from mailmoat.policy.domain_lookups import DomainLookups, Standing
from mailmoat.policy.filter_stamp import FilterRule
from mailmoat.policy.objection import NONE, Filter, Objection
from mailmoat.policy.verdict import PASS, Reply
from mailmoat.reputation.evidence import Evidence

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from mailmoat.net.address import Address
    from mailmoat.policy.agent import SessionView
    from mailmoat.policy.objection import Objections
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict
    from mailmoat.settings import Settings

KEPT: Final = 4096
"""Names whose form is kept at hand, a process."""


class HeloRule(FilterRule):
    """What is wrong with a name."""

    OWN_NAME = "helo-own-name"
    MALFORMED = "helo-malformed"
    UNQUALIFIED = "helo-unqualified"
    LITERAL = "helo-literal"
    UNRESOLVABLE = "helo-unresolvable"


TEXTS: Final = {
    HeloRule.OWN_NAME: "HELO {name} is a name of this server, not yours; give your own",
    HeloRule.MALFORMED: "HELO {name} is neither a domain nor an address literal; give the name of your server, or [{client}]",
    HeloRule.UNQUALIFIED: "HELO {name} is not a fully qualified domain; give the whole name of your server",
    HeloRule.LITERAL: "HELO {name} is not your address; give the name of your server, or [{client}]",
    HeloRule.UNRESOLVABLE: "HELO {name} has no address in the DNS; give a name that has one, or publish it",
}
FORGED: Final = (HeloRule.OWN_NAME, HeloRule.LITERAL)
"""Names of others: evidence against the client. The rest may be carelessness."""


class HeloChecks(Filter):
    """Judges the names of clients."""

    name = "helo_checks"

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        settings = services.settings
        self._actions = actions(settings)
        self._own = frozenset((settings.hostname, *settings.relay.local_domains, *settings.helo.own_names))
        self._find = lru_cache(KEPT)(self._look)
        self._lookups = (
            DomainLookups(services.resolver, ("A", "AAAA", "MX"), settings.helo.dns_time)
            if HeloRule.UNRESOLVABLE in self._actions
            else None
        )

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether a check is on."""
        return bool(actions(settings))

    def passes_if(self, stage: Stage) -> Sequence[Condition] | None:
        """Return that the name is an ordinary one of somebody else, where the DNS is not asked for it."""
        if self._lookups is not None:
            return None
        return () if stage is Stage.MAIL else (Condition.ordinary_helo(sorted(self._own)),)

    def on_mail(self, view: SessionView) -> Verdict:
        """Start to look the name up; nothing waits for it yet."""
        if self._lookups is not None and self.judges(view) and self._is_asked(name := normal(view.helo_name)):
            self._lookups.begin(name, view.client.address)
        return PASS

    def objections(self, view: SessionView) -> Objections | Awaitable[Objections]:
        """Return what is wrong with the name: one thing at most."""
        client = view.client.address
        rule = self._find(view.helo_name, client)
        if rule is not None:
            return self._objection(rule, view.helo_name, client)
        if self._lookups is None or not self._is_asked(name := normal(view.helo_name)):
            return NONE
        standing = self._lookups.standing(name, client)
        if isinstance(standing, Standing):
            return self._unresolvable(view.helo_name, client, standing)
        return self._wait(view.helo_name, client, standing)

    def _look(self, helo_name: str, client: str) -> HeloRule | None:
        """Return the first check that is on and that a name does not pass."""
        name = normal(helo_name)
        given = literal_address(name)
        failed = {
            HeloRule.OWN_NAME: name in self._own or (given is not None and str(given) != client and is_own(given)),
            HeloRule.MALFORMED: not name.startswith("[") and name.rpartition(".")[2].isdigit(),
            HeloRule.UNQUALIFIED: "." not in name and not name.startswith("["),
            HeloRule.LITERAL: name.startswith("[") and str(given) != client,
        }
        return next((rule for rule, is_so in failed.items() if is_so and rule in self._actions), None)

    def _is_asked(self, name: str) -> bool:
        """Return whether a name can be in the DNS."""
        return "." in name and not name.startswith("[")

    def _objection(self, rule: HeloRule, name: str, client: str) -> Objections:
        reply = Reply.showing(550, "5.7.1", TEXTS[rule].format(name=name, client=client))
        evidence = Evidence.HELO_MISMATCH if rule in FORGED else None
        return (Objection(rule, self._actions[rule], reply, name, evidence),)

    def _unresolvable(self, name: str, client: str, standing: Standing) -> Objections:
        if standing in (Standing.ABSENT, Standing.NO_RECORDS):
            return self._objection(HeloRule.UNRESOLVABLE, name, client)
        return NONE

    async def _wait(self, name: str, client: str, standing: Awaitable[Standing]) -> Objections:
        return self._unresolvable(name, client, await standing)


def actions(settings: Settings) -> dict[HeloRule, str]:
    """Return the checks that are on, with the action of each."""
    helo = settings.helo
    wanted = {
        HeloRule.OWN_NAME: helo.own_name,
        HeloRule.MALFORMED: helo.malformed,
        HeloRule.UNQUALIFIED: helo.unqualified,
        HeloRule.LITERAL: helo.literal,
        HeloRule.UNRESOLVABLE: helo.unresolvable,
    }
    return {rule: action for rule, action in wanted.items() if action != "off"}


def normal(name: str) -> str:
    """Return a HELO name in the form in which domains and literals are compared; one that is neither in small letters."""
    try:
        return normalise_domain(name)
    except ValueError:
        return name.lower().removesuffix(".")


def literal_address(name: str) -> Address | None:
    """Return the address that a name is, with brackets or without; None when it is a domain."""
    text = name.removeprefix("[").removesuffix("]")
    try:
        return addresses.without_zone(text.removeprefix("IPv6:").removeprefix("ipv6:"))
    except ValueError:
        return None
