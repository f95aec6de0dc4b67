"""`[dns]`: queries to the domain name system."""

from typing import Annotated, Final

from pydantic import BeforeValidator, Field, PlainValidator

from mailmoat.net import address, endpoint
from mailmoat.net.endpoint import Endpoint
from mailmoat.settings import notation, values
from mailmoat.settings.fields import Duration, Positive, Size, Switch, Wait
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section

PORT: Final = 53


def name_server(value: object) -> Endpoint:
    """Read an IP address, `address:port` or `[address]:port`; an IPv6 address without a port needs no brackets."""
    if isinstance(value, Endpoint):
        return value
    server = endpoint.to_connect_bare(values.text(value), PORT)
    return Endpoint(address.canonical(server.host), server.port)


NameServers = Annotated[
    tuple[Annotated[Endpoint, PlainValidator(name_server)], ...],
    BeforeValidator(values.items),
    Form("IP addresses, each with a port or without, such as 127.0.0.1 or [::1]:5353, comma between", notation.show),
]


class DnsSettings(Section):
    """Queries to the domain name system, by each worker separately."""

    servers: NameServers = Field(
        default=(), description="Name servers, in this order; they must be recursive resolvers. Port 53 unless given."
    )
    trust_ad: Switch = Field(
        default=False,
        description="The servers validate DNSSEC, and nobody can change their answers on the way here: they run on this host, or behind a path that is trusted. DANE needs it.",
    )
    timeout: Wait = Field(
        default=2.0,
        description="Wait for one server's answer, in seconds; then the next is asked. Up to a quarter of it is left out by chance.",
    )
    lifetime: Wait = Field(
        default=5.0, description="Wait for the answer to one query, all attempts together, in seconds."
    )
    budget_queries: Positive = Field(
        default=40,
        description="DNS queries per message, without answers from the cache; lookups beyond it are TempErrors.",
    )
    budget_time: Wait = Field(default=20.0, description="Time for the DNS queries of one message, in seconds.")
    cache_size: Size = Field(default=16 << 20, description="Octets of memory for cached answers, per worker.")
    cache_time: Duration = Field(
        default=86_400.0,
        description="Longest time for which an answer is cached, in seconds; its TTL is often shorter.",
    )
    negative_time: Duration = Field(
        default=3600.0,
        description="Longest time for which it is cached that a name or record does not exist, in seconds.",
    )
    failures: Positive = Field(
        default=5,
        description="Unanswered queries in a row after which a name, a zone, or all servers are not queried for a while.",
    )
    open_time: Duration = Field(
        default=30.0, description="How long they are not queried, in seconds; then one query tests them."
    )
    reverse_time: Duration = Field(
        default=5.0,
        description="Time for finding the verified name of a client by reverse DNS, in seconds. No reply waits for it. 0 = names are not looked up.",
    )
