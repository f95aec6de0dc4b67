"""`[relay]`: for which domains and from which clients mail is accepted."""

from pydantic import Field, ValidationInfo, field_validator

from mailmoat.settings.fields import Domains, Networks, OptionalDomain
from mailmoat.settings.section import Section


class RelaySettings(Section):
    """For which domains and from which clients mail is accepted."""

    local_domains: Domains = Field(
        default=(), description="Domains for which mail is received; the recipient filter applies."
    )
    default_domain: OptionalDomain = Field(
        default=None, validate_default=True, description="Domain given to an address that has none."
    )
    unfiltered_domains: Domains = Field(
        default=(),
        description="Other domains for which mail is accepted without knowing their recipients (backup MX): no recipient filter applies.",
    )
    networks: Networks = Field(
        default=(),
        description="Networks whose clients may send to any domain. No client is trusted by default, not even on loopback.",
    )

    @field_validator("default_domain")
    @classmethod
    def _first_local_domain(cls, value: str | None, others: ValidationInfo) -> str | None:
        return value or next(iter(others.data.get("local_domains", ())), None)
