"""Who a message says it is from: the identities that can be checked, and where each is found (RFC 4406 3, RFC 4407 2, RFC 7208 2).

Pure: reads a header section and an envelope, makes no lookup. The agent and `mailmoat senderid test` share it, so that both
have the same result. Three cases are distinguished here (the third, no source address, is the agent's):

* None of the four fields is there: the envelope is used, as in Exchange. MAIL FROM then *is* the purported responsible
  address and is checked as one (scope `pra`: a domain that does not exist is a Fail). With the null reverse-path it is
  `postmaster@` the HELO name, as RFC 7208 2.4 and RFC 4408 2.2 have it, in scope `mfrom`: the name of a host
  need not be a mail domain, so a name that does not exist means nothing.
* The fields are there, but RFC 4407 finds no address in them: an identity without a mailbox. Its status is Fail, "No PRA".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mailmoat import _native
from mailmoat.mailauth.results import Result, Scope, Status

if TYPE_CHECKING:
    from mailmoat._native import Address


class IdentityKind(StrEnum):
    """What is checked: RFC 7208 9.1 and the metrics call them so."""

    PRA = "pra"
    MAIL_FROM = "mailfrom"
    HELO = "helo"


@dataclass(frozen=True, slots=True)
class Identity:
    """One identity: the mailbox that answers for it, and the property that names its place (RFC 8601 2.3)."""

    kind: IdentityKind
    scope: Scope
    mailbox: str
    """`local@domain`; empty when RFC 4407 finds no address."""
    domain: str
    place: str
    """`header.from`, `header.resent-sender` ..., `smtp.mailfrom` or `smtp.helo`; empty without a mailbox."""
    lenient: bool = False
    """The field breaks the grammar of RFC 5322, and was read as all programs that show messages read it."""

    @property
    def askable(self) -> bool:
        """Whether the domain is one that can publish a record: several labels, no address (RFC 7208 4.3)."""
        labels = self.domain.split(".")
        return len(labels) > 1 and all(labels) and "[" not in self.domain and not labels[-1].isdigit()


@dataclass(frozen=True, slots=True)
class Finding:
    """An identity and what became of it."""

    identity: Identity
    result: Result


NOBODY: Final = Identity(IdentityKind.PRA, Scope.PRA, "", "", "")
"""The fields are there, and no responsible address."""
NO_PRA: Final = Result(Status.FAIL, "No PRA")
NO_DOMAIN: Final = Result(Status.NONE, "Malformed Domain")


def known(identity: Identity) -> Result | None:
    """Return the result of an identity about which nobody needs to be asked."""
    if not identity.mailbox:
        return NO_PRA
    return None if identity.askable else NO_DOMAIN


def responsible(header: bytes, reverse_path: Address | None, helo_name: str) -> Identity:
    """Return the purported responsible address of a message, or `NOBODY`; `helo_name` is empty when it is not known."""
    found, field, address = _native.responsible_address(header)
    if address is not None:
        place, lenient = f"header.{field.lower()}", found is _native.PraKind.LENIENT
        return Identity(IdentityKind.PRA, Scope.PRA, str(address), address.domain, place, lenient)
    if found is _native.PraKind.ILL_FORMED:
        return NOBODY
    if reverse_path is not None:
        return Identity(IdentityKind.PRA, Scope.PRA, str(reverse_path), reverse_path.domain, "smtp.mailfrom")
    name = host_name(helo_name)
    return Identity(IdentityKind.PRA, Scope.MFROM, f"postmaster@{name}", name, "smtp.helo")


def envelope(reverse_path: Address | None, helo_name: str) -> list[Identity]:
    """Return what plain SPF checks: MAIL FROM, and HELO, which alone answers for the null reverse-path (RFC 7208 2.3, 2.4).

    HELO comes last: its name is the client's free choice, and must not spend what MAIL FROM needs of the message's budget. One that
    is no name of a domain is an identity, too: that it could not be checked is a result (RFC 7208 2.6.1). `helo_name` is empty when it is
    not known, and then nothing is claimed.
    """
    identities = []
    if reverse_path is not None:
        mailbox, domain = str(reverse_path), reverse_path.domain
        identities.append(Identity(IdentityKind.MAIL_FROM, Scope.MFROM, mailbox, domain, "smtp.mailfrom"))
    if helo_name:
        name = host_name(helo_name) or helo_name
        identities.append(Identity(IdentityKind.HELO, Scope.MFROM, f"postmaster@{name}", name, "smtp.helo"))
    return identities


def host_name(helo_name: str) -> str:
    """Return the HELO name as domains are compared; empty when it is none."""
    try:
        return _native.normalise_domain(helo_name)
    except ValueError:
        return ""
