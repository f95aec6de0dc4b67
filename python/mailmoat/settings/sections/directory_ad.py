"""What a row of `[[directories]]` has for Active Directory alone."""

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, PlainValidator

from mailmoat.settings import notation, values
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section

ObjectKind = Literal["users", "groups", "contacts", "public_folders"]
_KINDS: Final[tuple[ObjectKind, ...]] = ("users", "groups", "contacts", "public_folders")


def some_kinds(value: object) -> tuple[object, ...]:
    """Read a list that is not empty."""
    listed = values.items(value)
    if not listed:
        raise ValueError("no kind, so there would be no recipient")
    return listed


class AdFields(Section):
    """Which objects of Active Directory receive mail, and at which addresses."""

    object_kinds: Annotated[
        tuple[Annotated[ObjectKind, PlainValidator(values.one_of(*_KINDS))], ...],
        BeforeValidator(some_kinds),
        Form("some of users, groups, contacts, public_folders, separated by commas", notation.show),
    ] = Field(
        default=_KINDS,
        description="Active Directory: kinds of objects that receive mail. `groups` are static and dynamic ones.",
    )
    disabled_accounts: Annotated[
        Literal["accept", "shared", "refuse"],
        PlainValidator(values.one_of("accept", "shared", "refuse")),
        Form("accept, shared or refuse", notation.show),
    ] = Field(
        default="accept",
        description="Active Directory: accounts that are disabled and have an address. `accept`: they receive mail, as with Exchange; shared mailboxes and those of rooms have disabled accounts. `shared`: only these, linked mailboxes and those of equipment do. `refuse`: none does.",
    )
    secondary_addresses: Annotated[
        Literal["keep", "rewrite"],
        PlainValidator(values.one_of("keep", "rewrite")),
        Form("keep or rewrite", notation.show),
    ] = Field(
        default="keep",
        description="Active Directory: mail to an address that is not the primary one of its object. `keep`: it goes on to this address. `rewrite`: it goes on to the primary one.",
    )
