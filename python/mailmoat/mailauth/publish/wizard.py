"""Write the records a domain should publish: from the senders of its mail to `v=spf1` and `spf2.0/pra`, with warnings.

Pure: what the DNS says comes from `published`, and the command line puts the questions. Bad input is a ValueError with a plain sentence.
The wizard keeps the unknown parts of an existing record unchanged.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from mailmoat._native import normalise_domain
from mailmoat.mailauth.results import Scope
from mailmoat.mailauth.spf.record import Record, TooMany, select

if TYPE_CHECKING:
    from mailmoat.mailauth.publish.published import Published, Reach

POLICIES: Final = {
    "-all": "nobody else may send: others may refuse it",
    "~all": "nobody else should send: others may look at it more closely",
    "?all": "nothing is said about anybody else",
    "+all": "everybody may send",
}
_POLICY_WORDS: Final = {"fail": "-all", "softfail": "~all", "neutral": "?all", "pass": "+all", "all": "+all"}

VERSIONS: Final = {"mfrom": "v=spf1", "pra": "spf2.0/pra"}
MAX_LOOKUPS: Final = 10
MAX_STRING: Final = 255
MAX_ANSWER: Final = 450
"""Octets that fit into an answer of 512 with what else is in it (RFC 7208 3.4)."""

_TERM: Final = re.compile(r"\+?(a|mx|ip4|ip6|include)(?::([^/%]+(?:/\d+)?))?\Z", re.IGNORECASE)
_MODIFIER: Final = re.compile(r"[a-z][\w.-]*=", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Choices:
    """What sends mail in the domain's name, and what is said of everybody else."""

    mx: bool = True
    """The hosts that receive its mail."""
    a: bool = False
    """The host that has the domain's name."""
    networks: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    """Terms of the present record that are none of these, kept as they are."""
    policy: str = "~all"


def network(text: str) -> str:
    """Return an address or network in the form of a record: `192.0.2.0/24`, `2001:db8::1`."""
    try:
        found = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(f"{text.strip()!r} is no address or network: write 192.0.2.0/24 or 2001:db8::/32") from None
    return str(found.network_address) if found.prefixlen == found.max_prefixlen else str(found)


def domain_name(text: str) -> str:
    """Return a domain or host of several labels, in A-labels and lower case."""
    try:
        name = normalise_domain(text.strip().removesuffix("."))
    except ValueError as error:
        raise ValueError(f"{text.strip()!r} is no domain: {error}") from None
    if "." not in name or name.startswith("[") or name.rpartition(".")[2].isdecimal():
        raise ValueError(f"{text.strip()!r} is no domain: write it in full, such as mail.example.com")
    return name


def policy(text: str) -> str:
    """Parse `-all`, `~all`, `?all` or `+all`, also by its word."""
    chosen = _POLICY_WORDS.get(text.strip().lower(), text.strip().lower())
    if chosen not in POLICIES:
        raise ValueError(f"{text.strip()!r} is no policy: write one of {', '.join(POLICIES)}")
    return chosen


def items(text: str) -> list[str]:
    """Return the items between commas and spaces."""
    return [item for item in re.split(r"[,\s]+", text) if item]


def read(terms: str) -> Choices:
    """Return the choices of an existing record; a redirect becomes an include."""
    found: dict[str, list[str]] = {"networks": [], "hosts": [], "includes": [], "others": []}
    chosen = Choices(mx=False, policy="?all")
    listed = terms.split()
    has_all = any(term.lower() in {*POLICIES, "all"} for term in listed)
    for term in listed:
        lower = term.lower()
        if lower in {"mx", "+mx"}:
            chosen = replace(chosen, mx=True)
        elif lower in {"a", "+a"}:
            chosen = replace(chosen, a=True)
        elif lower in POLICIES or lower == "all":
            chosen = replace(chosen, policy=policy(lower))
        elif lower.startswith("redirect="):
            if not has_all:
                chosen = replace(chosen, policy="~all")
                found["includes"].append(lower.removeprefix("redirect="))
        else:
            kind, value = _sort(term)
            found[kind].append(value)
    kept = {kind: tuple(dict.fromkeys(values)) for kind, values in found.items()}
    return Choices(chosen.mx, chosen.a, policy=chosen.policy, **kept)


def _sort(term: str) -> tuple[str, str]:
    match = _TERM.match(term)
    name, value = (match[1].lower(), match[2]) if match else ("", None)
    try:
        if value and name in {"ip4", "ip6"}:
            return "networks", network(value)
        if value and name in {"a", "include"} and "/" not in value:
            return {"a": "hosts", "include": "includes"}[name], domain_name(value)
    except ValueError:
        pass
    return "others", term


def compose(chosen: Choices, scope: Scope) -> str:
    """Return the record to publish: cheap terms first, the policy last, modifiers after it."""
    modifiers = [term for term in chosen.others if _MODIFIER.match(term)]
    terms = [
        VERSIONS[scope.value],
        *(f"ip{ipaddress.ip_network(each).version}:{each}" for each in chosen.networks),
        *(["mx"] if chosen.mx else []),
        *(["a"] if chosen.a else []),
        *(f"a:{each}" for each in chosen.hosts),
        *(f"include:{each}" for each in chosen.includes),
        *(term for term in chosen.others if term not in modifiers),
        chosen.policy,
    ]
    return " ".join(terms + modifiers)


def strings(record: str) -> list[str]:
    """Return the record in strings of at most 255 octets, as a TXT record holds it."""
    return [record[at : at + MAX_STRING] for at in range(0, len(record), MAX_STRING)]


def zone_line(domain: str, record: str) -> str:
    """Return the record as it is written in a zone file."""
    quoted = (string.replace("\\", "\\\\").replace('"', '\\"') for string in strings(record))
    return f"{domain}. IN TXT " + " ".join(f'"{string}"' for string in quoted)


def current(published: Published, scope: Scope) -> str:
    """Return the terms of the record that counts now; "" when there is none, there are several, or it is not known."""
    chosen = select(published.texts or (), scope)
    return chosen.terms.decode("ascii", "replace") if isinstance(chosen, Record) else ""


def warn(published: Published, chosen: Choices, reaches: dict[str, Reach]) -> list[str]:
    """Return the warnings about the domain and its new records; `reaches` by record."""
    warnings = list(published.problems)
    if published.missing:
        warnings.append(f"{published.domain} does not exist: to Sender ID mail from there fails, whatever you publish.")
    if chosen.mx and published.mx == () and not published.missing:
        warnings.append(f"{published.domain} has no MX records: `mx` matches nobody.")
    if chosen.a and published.addresses == () and not published.missing:
        warnings.append(f"{published.domain} has no address: `a` matches nobody.")
    if chosen.policy == "+all":
        warnings.append("`+all` lets everybody send in your name: it is worse than no record.")
    warnings += _warn_of_present(published)
    merged: dict[str, list[str]] = {}
    for record, reach in reaches.items():
        for sentence in _warn_of_record(record, reach):
            merged.setdefault(sentence, []).append(record.partition(" ")[0])
    return warnings + [f"{', '.join(versions)}: {sentence}" for sentence, versions in merged.items()]


def _warn_of_record(record: str, reach: Reach) -> list[str]:
    warnings = list(dict.fromkeys(reach.problems))
    if reach.lookups > MAX_LOOKUPS:
        warnings.append(
            f"it takes {'at least ' if reach.cut else ''}{reach.lookups} lookups, and only {MAX_LOOKUPS} are allowed: "
            "checks end in PermError. Write networks in place of names, or include less."
        )
    if len(record) > MAX_STRING:
        warnings.append(f"more than {MAX_STRING} octets, too long for one string: publish it in parts, as printed.")
    if len(record) > MAX_ANSWER:
        warnings.append(f"more than {MAX_ANSWER} octets: some name servers and resolvers will not carry it.")
    return warnings


def _warn_of_present(published: Published) -> list[str]:
    """Return warnings about several existing records of one kind."""
    found = {scope: select(published.texts or (), scope) for scope in Scope}
    several = dict.fromkeys(chosen.versions for chosen in found.values() if isinstance(chosen, TooMany))
    return [
        f"There are {len(versions)} records now where one is allowed ({', '.join(versions)}): "
        "every check ends in PermError until all but one are removed."
        for versions in several
    ]
