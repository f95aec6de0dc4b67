"""`[mx]`: how mail for domains of others finds their servers, and what they publish about TLS."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, PlainValidator

from mailmoat.net import address
from mailmoat.settings import notation, values
from mailmoat.settings.fields import Networks, OptionalPath, Positive, Switch
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section

NOT_PUBLIC: Final[tuple[IPv4Network | IPv6Network, ...]] = tuple(
    map(
        ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.168.0.0/16", "224.0.0.0/3", "::/127", "fc00::/7", "fe80::/10", "ff00::/8"),
        ),
    )
)
"""Networks in which no mail server of a stranger is: those of this machine, private ones, multicast (RFC 6890)."""


def own_host(value: object) -> str:
    """Read a name or an address by which this server is known; ValueError for anything else."""
    written = values.text(value)
    try:
        return address.canonical(written)
    except ValueError:
        return values.domain(written)


class MxSettings(Section):
    """Delivery by MX records: the next hop `mx`."""

    port_number: Positive = Field(
        default=25, description="Port of the servers; other than 25 in networks of your own alone."
    )
    max_hosts: Positive = Field(default=5, description="Hosts of one domain that are tried, at each attempt.")
    max_addresses: Positive = Field(
        default=10, description="Addresses of one domain's hosts that are tried, at each attempt."
    )
    prefer: Annotated[
        Literal["any", "ipv4", "ipv6"],
        PlainValidator(values.one_of("any", "ipv4", "ipv6")),
        Form("any, ipv4 or ipv6", notation.show),
    ] = Field(
        default="any",
        description="Which of a host's addresses come first; the two families take turns. `any`: chosen anew each time.",
    )
    ignored_networks: Networks = Field(
        default=NOT_PUBLIC,
        description="Networks in which servers of others are not sought, whatever the DNS says: a domain whose MX is 127.0.0.1 must not lead back here or into your networks. Give domains of your own that have such addresses a route with a `smtp://` next hop, or remove their network.",
    )
    own_hosts: Annotated[
        tuple[Annotated[str, PlainValidator(own_host)], ...],
        BeforeValidator(values.items),
        Form("names and addresses such as mx.example.com or 192.0.2.25, separated by commas", notation.show),
    ] = Field(
        default=(),
        description="Further names and addresses by which others reach this server, such as that of the firewall in front of it; `hostname` and the addresses of the machine are known. Where an MX record names one of them, it and those of equal or worse preference are left out (RFC 5321 5.1).",
    )
    dane: Switch = Field(
        default=True,
        description="Authenticate servers by their TLSA records (DANE, RFC 7672). It needs `dns.trust_ad`.",
    )
    mta_sts: Switch = Field(
        default=True,
        description="Fetch the MTA-STS policies of domains (RFC 8461) by HTTPS, and keep to them.",
    )
    tls_ca: OptionalPath = Field(
        default=None,
        description="File with the CA certificates (PEM) by which servers under MTA-STS and the web servers of policies are verified. Empty = those of the system.",
    )
    tls_report: Switch = Field(
        default=True,
        description="Count the results of TLS for domains that ask for reports (TLS-RPT, RFC 8460), in files below `spool_dir`.",
    )
