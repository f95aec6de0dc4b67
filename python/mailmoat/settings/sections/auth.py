"""`[auth]`: who may authenticate, and what an account may do."""

import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, PlainValidator, ValidationInfo, field_validator

from mailmoat.settings import notation, values
from mailmoat.settings.fields import Duration, OptionalPath, Positive, Switch
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section
from mailmoat.settings.values import contradiction

_MECHANISM: Final = re.compile(r"[A-Z0-9_-]{1,20}", re.ASCII)
"""RFC 4422 3.1."""


def mechanism(value: object) -> str:
    """Read the name of a SASL mechanism, in any case."""
    written = values.text(value).upper()
    if not _MECHANISM.fullmatch(written):
        raise ValueError("not a SASL mechanism")
    return written


Mechanisms = Annotated[
    tuple[Annotated[str, PlainValidator(mechanism)], ...],
    BeforeValidator(values.items),
    Form("SASL mechanisms such as SCRAM-SHA-256, PLAIN, separated by commas", notation.show),
]


class AuthSettings(Section):
    """Who may authenticate, and what an account may do."""

    file: OptionalPath = Field(
        default=None,
        description="File of accounts, changed by `mailmoat user`. Read again when it changes. AUTH is offered over TLS only.",
    )
    dovecot: Annotated[
        Path | None,
        PlainValidator(values.optional(values.path)),
        Form("the path of a socket, and no auth.file", notation.show, notation.below),
    ] = Field(
        default=None,
        validate_default=True,
        description="Socket of Dovecot's authentication service, instead of `auth.file`.",
    )
    mechanisms: Mechanisms = Field(
        default=(), description="SASL mechanisms that may be used. Empty = all that the backend has."
    )
    senders: OptionalPath = Field(
        default=None,
        description="File of the sender addresses that each account may use. Without one, an account may use any.",
    )
    relay: Switch = Field(default=True, description="Authenticated clients may send to any domain.")
    hashing_queue: Positive = Field(
        default=64,
        description="Passwords that wait to be checked, per worker; above it AUTH gets 454. A check takes about 20 ms.",
    )

    cache_time: Duration = Field(
        default=300.0,
        description="How long a right password is remembered (as a keyed hash in memory) so that checking it again costs nothing, in seconds. 0 = off.",
    )

    @field_validator("dovecot")
    @classmethod
    def _is_the_only_backend(cls, value: Path | None, others: ValidationInfo) -> Path | None:
        if value is not None and others.data.get("file") is not None:
            raise contradiction("auth.file is set as well, and accounts come from one source", "remove one of them")
        return value
