"""`[senderid]`: whether the sender's domain permits the address a message came from (Sender ID and SPF)."""

from typing import Annotated, Final, Literal

from pydantic import Field, PlainValidator

from mailmoat.settings import notation, values
from mailmoat.settings.fields import Count, Domains, Networks, Recipients, Switch
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section

ACTIONS: Final = ("StampStatus", "Reject", "Delete")

Action = Annotated[
    Literal["StampStatus", "Reject", "Delete"],
    PlainValidator(values.one_of(*ACTIONS)),
    Form("StampStatus, Reject or Delete", notation.show),
]


def action_without_delete(value: object) -> str:
    """Parse the action for TempError: never Delete, which would lose legitimate messages whenever DNS fails."""
    if isinstance(value, str) and value.strip().lower() == "delete":
        raise ValueError("would silently lose legitimate messages whenever DNS does not answer")
    return values.one_of("StampStatus", "Reject")(value)


class SenderIdSettings(Section):
    """Whether the sender's domain permits the address a message came from (Sender ID and SPF)."""

    enabled: Switch = Field(
        default=False, description="Check messages from outside by Sender ID and SPF, and stamp them."
    )
    spoofed_domain_action: Action = Field(
        default="StampStatus",
        description="What happens on the Sender ID status Fail: stamp only, refuse with 550, or accept and drop silently.",
    )
    temp_error_action: Annotated[
        Literal["StampStatus", "Reject"],
        PlainValidator(action_without_delete),
        Form("StampStatus or Reject", notation.show),
    ] = Field(
        default="StampStatus",
        description="What happens on TempError, such as DNS being down: only the stamp, or a 451 so that the sender tries again.",
    )
    bypassed_sender_domains: Domains = Field(
        default=(), description="Domains of senders that are not checked; a subdomain is another domain."
    )
    bypassed_recipients: Recipients = Field(
        default=(), description="Recipients that get their messages, stamped, whatever the status is."
    )
    internal_servers: Networks = Field(
        default=(),
        description="Our own servers in front of this one: the sender is the first address in Received that is none of them.",
    )
    private_networks: Annotated[
        Literal["check", "skip"],
        PlainValidator(values.one_of("check", "skip")),
        Form("check or skip", notation.show),
    ] = Field(
        default="check",
        description="What happens to a message from a private address (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, fc00::/7): checked as any other, or no status. Loopback and link-local addresses never have one.",
    )
    exchange_headers: Switch = Field(
        default=False,
        description="Stamp X-MS-Exchange-Organization-SenderIdResult and -PRD, for an Exchange behind us.",
    )
    submitter: Switch = Field(
        default=False,
        description="Offer SUBMITTER (RFC 4405) and refuse a message whose header names another address, or, at MAIL, whose domain's status is Fail where `senderid.spoofed_domain_action` is Reject.",
    )
    spf_mfrom_action: Action = Field(
        default="StampStatus",
        description="What happens when the plain SPF check of MAIL FROM or HELO fails; with Reject or Delete, TempError follows `senderid.temp_error_action`.",
    )
    void_lookups: Count = Field(
        default=2,
        description="Lookups without an answer that one SPF record may cause (RFC 7208 4.6.4); more is PermError.",
    )
