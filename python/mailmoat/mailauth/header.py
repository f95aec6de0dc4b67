"""Results as header fields: Authentication-Results (RFC 8601, RFC 8904), Received-SPF (RFC 7208 9.1), Exchange's own two.

Pure. Whatever a stranger chose (address, HELO name, a domain's explanation) ends up inside a token, a quoted string or a comment of
printable ASCII and bounded length: no value can end its line, its string or its comment. A mailbox that needs more than ASCII is
shown by its domain alone, which RFC 8601 2.7 allows, so that the fields are ASCII in every message.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from mailmoat.mailauth.results import Status
from mailmoat.mailauth.senderid.identities import NO_DOMAIN, IdentityKind
from mailmoat.printable import printable_ascii

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mailmoat.mailauth.senderid.identities import Finding, Identity

LONGEST: Final = 320
"""Octets of one value that are shown: a mailbox of RFC 5321's largest size."""

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_DOT_ATOM: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_DOMAIN: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_LITERAL: Final = re.compile(r"\[[A-Za-z0-9:.]+\]")

_MAILBOXES: Final = {IdentityKind.MAIL_FROM: "envelope-from", IdentityKind.PRA: "pra"}
"""The key of Received-SPF for the mailbox."""
_LENIENT: Final = " (the field breaks the grammar of RFC 5322)"
_SAYS: Final = {
    Status.PASS: "{} designates {} as permitted sender",
    Status.FAIL: "{} does not designate {} as permitted sender",
    Status.SOFT_FAIL: "{} probably does not designate {} as permitted sender",
    Status.NEUTRAL: "{} says nothing for or against {}",
    Status.NONE: "{} designates no permitted senders",
    Status.TEMP_ERROR: "{} could not be asked about {}",
    Status.PERM_ERROR: "{} has a record that cannot be used",
}
"""What the domain says of the address, for people who read headers."""


def stamps(
    findings: Sequence[Finding], *, receiver: str, source: str, helo_name: str, exchange: bool = False
) -> tuple[bytes, ...]:
    """Return the fields for these findings, top first, each ending in CRLF. `receiver` is our name, `source` the address judged.

    Of the Received-SPF fields that of `pra` is the last: filters that support only SPF use the first.
    """
    fields = [authentication_results(findings, receiver)]
    by_spf = sorted(findings, key=lambda finding: finding.identity.kind is IdentityKind.PRA)
    fields += [received_spf(finding, receiver=receiver, source=source, helo_name=helo_name) for finding in by_spf]
    if exchange:
        fields += [field for finding in findings for field in _exchange(finding)]
    return tuple(field.encode("ascii", "replace") for field in fields)


def unchecked(receiver: str) -> bytes:
    """Return the stamp for a message that was not checked (RFC 8601 2.2)."""
    return authentication_results((), receiver).encode("ascii", "replace")


def dnswl(receiver: str, zone: str, answer: str) -> bytes:
    """Return the field of one allow list that has the client (RFC 8904 2); the resolver does not say whether the answer was signed."""
    found = f"dnswl=pass dns.zone={_domain(zone)} dns.sec=na policy.ip={answer}"
    return f"Authentication-Results: {_domain(receiver)};\r\n\t{found}\r\n".encode("ascii", "replace")


@lru_cache(2048)
def iprev(receiver: str, address: str, result: str, name: str) -> bytes:
    """Return the field of what reverse DNS says of the client (RFC 8601 2.7.3); `name` is the one that is verified, or empty."""
    found = f"iprev={result} policy.iprev={_value(address)}{f' ({name})' if name else ''}"
    return f"Authentication-Results: {_domain(receiver)};\r\n\t{found}\r\n".encode("ascii", "replace")


def authentication_results(findings: Sequence[Finding], receiver: str) -> str:
    """Return one field with a result for each finding, `none` without any."""
    results = [f";\r\n\t{_result(finding)}" for finding in findings]
    return f"Authentication-Results: {_domain(receiver)}{''.join(results) or '; none'}\r\n"


def received_spf(finding: Finding, *, receiver: str, source: str, helo_name: str) -> str:
    """Return the Received-SPF field (RFC 7208 9.1); the key `pra` holds a mailbox that is not from the envelope; HELO has none."""
    identity, result = finding.identity, finding.result
    pairs = [("receiver", _value(receiver)), ("client-ip", _value(source)), ("identity", identity.kind)]
    if helo_name:
        pairs.append(("helo", _value(helo_name)))
    if identity.mailbox and identity.kind in _MAILBOXES:
        pairs.append((_MAILBOXES[identity.kind], _quoted(_shown(identity))))
    pairs += [(key, _quoted(text)) for key, text in _why(finding)]
    comment = _comment(f"{receiver}: {_sentence(finding, source)}")
    lines = "".join(f"\r\n\t{key}={value};" for key, value in pairs)
    return f"Received-SPF: {result.status.result} ({comment}){lines}\r\n"


def _why(finding: Finding) -> Iterator[tuple[str, str]]:
    if finding.result.mechanism:
        yield "mechanism", finding.result.mechanism
    if finding.result.problem:
        yield "problem", finding.result.problem


def _sentence(finding: Finding, source: str) -> str:
    identity, status = finding.identity, finding.result.status
    if not identity.mailbox:
        return "the message has no purported responsible address"
    if finding.result.reason == "Domain Does Not Exist":
        return f"domain {identity.domain} does not exist"
    if finding.result is NO_DOMAIN:
        return f"{identity.domain} is no domain that could be asked"
    of = identity.domain if identity.kind is IdentityKind.HELO else f"domain of {_shown(identity)}"
    return _SAYS[status].format(of, source)


def _result(finding: Finding) -> str:
    identity, result = finding.identity, finding.result
    method = "sender-id" if identity.kind is IdentityKind.PRA else "spf"
    reason = f" reason={_quoted(result.reason)}" if result.reason and result.status is not Status.PASS else ""
    return f"{method}={result.status.result}{reason}{_LENIENT if identity.lenient else ''}{_property(identity)}"


def _property(identity: Identity) -> str:
    """Return the property, such as `header.from=user@remote.tld`; a HELO name without the local part that the check used."""
    if not identity.place or not identity.domain:
        return ""
    shown = identity.domain if identity.place == "smtp.helo" else _shown(identity)
    local, at, domain = shown.rpartition("@")
    bare = len(shown) <= LONGEST and _DOMAIN.fullmatch(domain) and (not at or _DOT_ATOM.fullmatch(local))
    return f" {identity.place}={shown if bare else _quoted(shown)}"


def _exchange(finding: Finding) -> Iterator[str]:
    """Yield what Exchange's own agent leaves for the servers behind it (MS-OXCMAIL 2.2.3.2.20)."""
    identity = finding.identity
    if identity.kind is not IdentityKind.PRA:
        return
    yield f"X-MS-Exchange-Organization-SenderIdResult: {finding.result.status}\r\n"
    if _DOMAIN.fullmatch(identity.domain) or _LITERAL.fullmatch(identity.domain):
        yield f"X-MS-Exchange-Organization-PRD: {identity.domain[:LONGEST]}\r\n"


def _shown(identity: Identity) -> str:
    return identity.mailbox if identity.mailbox.isascii() and len(identity.mailbox) <= LONGEST else identity.domain


def _domain(name: str) -> str:
    return name if _DOMAIN.fullmatch(name) else _quoted(name)


@lru_cache(2048)
def _value(text: str) -> str:
    """Return the text as `dot-atom / quoted-string`."""
    return text if len(text) <= LONGEST and _DOT_ATOM.fullmatch(text) else _quoted(text)


@lru_cache(2048)
def _quoted(text: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", _shortened(text)) + '"'


def _comment(text: str) -> str:
    return re.sub(r"([()\\])", r"\\\1", _shortened(text, 2 * LONGEST))


def _shortened(text: str, longest: int = LONGEST) -> str:
    return printable_ascii(text[:longest])
