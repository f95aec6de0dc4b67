"""`[directory]`: what all sources of recipients have in common; each of `[[directories]]` can have a value of its own."""

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, PlainValidator

from mailmoat.settings import notation, values
from mailmoat.settings.fields import Count, Duration, Positive, Wait
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section

EVERY_DOMAIN: Final = "*"


def domain_or_every(value: object) -> str:
    """Read a domain, or `*`."""
    written = values.text(value)
    return written if written == EVERY_DOMAIN else values.domain(written)


TargetDomains = Annotated[
    tuple[Annotated[str, PlainValidator(domain_or_every)], ...],
    BeforeValidator(values.items),
    Form("domains such as example.com, separated by commas, or * for all", notation.show),
]


def share(value: object) -> int:
    """Read a part of 100, with or without `%`."""
    return values.percent(value.strip().removesuffix("%").rstrip() if isinstance(value, str) else value)


def show_share(value: object) -> str:
    """Return it with `%`."""
    return f"{value}%"


Share = Annotated[int, PlainValidator(share), Form("a percentage from 0% to 100%", show_share)]


class DirectorySettings(Section):
    """How sources of recipients are read and asked."""

    interval: Wait = Field(
        default=300.0,
        description="Time between two reads of a source that does not notify of changes, in seconds.",
    )
    max_age: Wait = Field(
        default=86_400.0,
        description="Age, in seconds, up to which what was read of a source counts while it cannot be read. An address that is not found after that is unknown.",
    )
    when_stale: Annotated[
        Literal["unknown", "accept"],
        PlainValidator(values.one_of("unknown", "accept")),
        Form("unknown or accept", notation.show),
    ] = Field(
        default="unknown",
        description="What follows for an address that is not found while a source is too old or does not answer: `unknown` (the reply is 451, the client tries again) or `accept`.",
    )
    shrink_limit: Share = Field(
        default=20,
        validate_default=True,
        description="Full reads and changes that take away more than this part of the entries or of the addresses within a day are not used until an administrator accepts it. In a small directory, two may be missing in full reads, and changes may remove ten. A full read without any entry is never used.",
    )
    target_domains: TargetDomains = Field(
        default=(),
        description="Domains at which targets of aliases may be, beside those of `relay.local_domains` and `relay.unfiltered_domains`; `*` = all. Another target is not used: the address keeps the mail itself.",
    )
    timeout: Wait = Field(
        default=5.0,
        description="Time for one lookup in a source, connection included, and for the connection by which one is read, in seconds.",
    )
    cache_time: Duration = Field(
        default=300.0, description="How long an address that a live source has is not asked for again, in seconds."
    )
    absent_cache_time: Duration = Field(
        default=60.0,
        description="How long an address that a live source does not have is not asked for again, in seconds.",
    )
    cache_entries: Count = Field(
        default=100_000, description="Answers of a live source that are kept. The least recently used are removed."
    )
    concurrency: Positive = Field(
        default=50,
        description="Lookups in a live source at the same time. For a next hop, this is also the limit of connections, unless its route has a lower one.",
    )
