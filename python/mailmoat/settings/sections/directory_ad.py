"""What a row of `[[directories]]` has for Active Directory alone."""

from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainValidator

from mailmoat.settings import notation, values
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section


class Kind(StrEnum):
    """What can receive mail."""

    USERS = "users"
    GROUPS = "groups"
    CONTACTS = "contacts"
    PUBLIC_FOLDERS = "public_folders"


class Disabled(StrEnum):
    """What follows for an account that is disabled."""

    ACCEPT = "accept"
    """It receives mail, as with Exchange."""
    SHARED = "shared"
    """It does if its mailbox is shared, linked, of a room or of equipment."""
    REFUSE = "refuse"


class Secondary(StrEnum):
    """What follows for mail to an address that is not the primary one."""

    KEEP = "keep"
    REWRITE = "rewrite"
    """It is delivered to the primary address."""


def some_kinds(value: object) -> tuple[object, ...]:
    """Read a list that is not empty."""
    listed = values.items(value)
    if not listed:
        raise ValueError("no kind, so there would be no recipient")
    return listed


class AdFields(Section):
    """Which objects of Active Directory receive mail, and at which addresses."""

    object_kinds: Annotated[
        tuple[Annotated[Kind, PlainValidator(values.one_of(*Kind))], ...],
        BeforeValidator(some_kinds),
        Form("some of users, groups, contacts, public_folders, separated by commas", notation.show),
    ] = Field(
        default=tuple(Kind),
        description="Active Directory: kinds of objects that receive mail. `groups` are static and dynamic ones.",
    )
    disabled_accounts: Annotated[
        Disabled,
        PlainValidator(values.one_of(*Disabled)),
        Form("accept, shared or refuse", notation.show),
    ] = Field(
        default=Disabled.ACCEPT,
        description="Active Directory: accounts that are disabled and have an address. `accept`: they receive mail, as with Exchange; shared mailboxes and those of rooms have disabled accounts. `shared`: only these, linked mailboxes and those of equipment do. `refuse`: none does.",
    )
    secondary_addresses: Annotated[
        Secondary,
        PlainValidator(values.one_of(*Secondary)),
        Form("keep or rewrite", notation.show),
    ] = Field(
        default=Secondary.KEEP,
        description="Active Directory: mail to an address that is not the primary one of its object. `keep`: it goes on to this address. `rewrite`: it goes on to the primary one.",
    )
