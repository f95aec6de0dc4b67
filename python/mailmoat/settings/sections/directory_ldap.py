"""What a row of `[[directories]]` has for LDAP servers, Active Directory among them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, PlainValidator

from mailmoat.settings import notation, values
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section
from mailmoat.settings.source_url import SourceUrl

LDAP_FAMILIES: Final = frozenset({"ldap", "ad"})
MARKS: Final = ("{address}", "{local}", "{domain}")
"""What a filter may contain that asks for one address."""

_ATTRIBUTE: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)+)(?:;[A-Za-z0-9-]+)*", re.ASCII)
_CONDITION: Final = re.compile(rf"({_ATTRIBUTE.pattern})\s*=\s*(.+)", re.ASCII)


def attribute(value: object) -> str:
    """Read the name of an attribute, or its OID (RFC 4512 2.5)."""
    written = values.text(value)
    if not _ATTRIBUTE.fullmatch(written):
        raise ValueError("not the name of an attribute")
    return written


def attribute_and_value(value: object) -> tuple[str, str]:
    """Read `attribute=value`."""
    match = _CONDITION.fullmatch(values.text(value))
    if match is None:
        raise ValueError("no attribute with = and a value")
    return match[1], match[2].strip()


def show_condition(value: object) -> str:
    """Return it as it is written; nothing where there is none."""
    return "=".join(map(str, value)) if isinstance(value, tuple) else ""


Attributes = Annotated[
    tuple[Annotated[str, PlainValidator(attribute)], ...],
    BeforeValidator(values.items),
    Form("names of attributes such as mail, separated by commas", notation.show),
]


class LdapFields(Section):
    """How an LDAP server is asked, and what of its entries counts."""

    tls: Annotated[
        Literal["verify", "encrypt", "none"],
        PlainValidator(values.one_of("verify", "encrypt", "none")),
        Form("verify, encrypt or none", notation.show),
    ] = Field(
        default="verify",
        description="TLS to the server: `verify`, only with a certificate that `tls_ca` signed for its name; `encrypt`, with any certificate; `none`: in clear, where the scheme has no TLS of its own. At `ldap://` and `ad://` TLS begins with StartTLS.",
    )
    base: Annotated[
        str | None,
        PlainValidator(values.optional(values.text)),
        Form("a name such as dc=example,dc=com", notation.show),
    ] = Field(
        default=None, description="Entry below which the server is searched. Empty = what the server names first."
    )
    filter: Annotated[
        str | None,
        PlainValidator(values.optional(values.text)),
        Form("a filter such as (objectClass=inetOrgPerson)", notation.show),
    ] = Field(
        default=None,
        description='Entries that count (RFC 4515). With `mode = "live"` it may contain `{address}`, `{local}` and `{domain}`: the search is then this filter alone.',
    )
    attributes: Attributes = Field(
        default=(),
        description="Attributes with the addresses of an entry. Empty = `mail`; with Active Directory, what Exchange uses.",
    )
    target_attributes: Attributes = Field(
        default=(),
        description="Attributes with the addresses that get the mail of an entry. Empty, or none in the entry = it is delivered to itself.",
    )
    condition: Annotated[
        tuple[str, str] | None,
        PlainValidator(values.optional(attribute_and_value)),
        Form("an attribute and its value such as mailEnabled=TRUE", show_condition),
    ] = Field(
        default=None,
        description="An entry counts only if this attribute has this value. Case is ignored.",
    )


def ldap_mistakes(
    row: LdapFields, url: SourceUrl, mode: str, login: tuple[str | None, Path | None]
) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the LDAP settings of a row: the setting, and a sentence. `login` is account and password file."""
    if url.family not in LDAP_FAMILIES:
        unused = [name for name in LdapFields.model_fields if name != "tls" and name in row.model_fields_set]
        yield from ((name, f"{url.scheme}: has no entries of LDAP") for name in unused)
        return
    account, password_file = login
    if account is not None and password_file is None:
        yield "account", "an account without password_file; a server treats an empty password as an anonymous bind"
    if mode == "sync" and row.filter is not None and any(mark in row.filter for mark in MARKS):
        yield "filter", 'it has a place for an address; write mode = "live", or remove it'
