"""`[helo]`: what is said of clients whose HELO or EHLO name cannot be theirs."""

from pydantic import Field

from mailmoat.settings.fields import Domains, FilterAction, Wait
from mailmoat.settings.section import Section


class HeloSettings(Section):
    """What is said of clients whose HELO or EHLO name cannot be theirs. RFC 5321 4.1.4 does not allow to refuse for a name that cannot be verified."""

    own_name: FilterAction = Field(
        default="off",
        description="What happens when a stranger gives our name (`hostname`, a domain of `relay.local_domains` or `helo.own_names`) or an address of this machine.",
    )
    own_names: Domains = Field(
        default=(),
        description="More names and addresses of ours that no stranger can have, such as mail.example.com or [192.0.2.25], the address outside of NAT.",
    )
    malformed: FilterAction = Field(
        default="off",
        description="What happens when the name is an address without brackets or ends in a number, so that it is neither a domain nor an address literal.",
    )
    unqualified: FilterAction = Field(
        default="off", description="What happens when the name has no dot, such as localhost."
    )
    literal: FilterAction = Field(
        default="off",
        description="What happens when the name is an address literal, such as [192.0.2.1], and not the client's address.",
    )
    unresolvable: FilterAction = Field(
        default="off",
        description="What happens when the name has no address and no MX. A DNS failure is never held against a client.",
    )
    dns_time: Wait = Field(
        default=5.0, description="Time for looking the name up, in seconds from MAIL; then nothing is said of it."
    )
