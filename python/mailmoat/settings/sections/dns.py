"""`[dns]`: questions to the domain name system."""

from typing import Annotated, Final

from pydantic import BeforeValidator, Field, PlainValidator

from mailmoat.net import address, endpoint
from mailmoat.net.endpoint import Endpoint
from mailmoat.settings import notation, values
from mailmoat.settings.fields import Duration, Positive, Size, Wait
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
    """Questions to the domain name system, each worker's its own."""

    servers: NameServers = Field(
        default=(), description="Name servers to ask, in this order; they must recurse. Port 53 unless given."
    )
    timeout: Wait = Field(default=2.0, description="Wait for one server's answer, in seconds; then the next is asked.")
    lifetime: Wait = Field(
        default=5.0, description="Wait for the answer to one question, all tries together, in seconds."
    )
    budget_queries: Positive = Field(
        default=40, description="Questions one message may ask beyond what is already known; then it has no answers."
    )
    budget_time: Wait = Field(default=20.0, description="Time one message may spend on its questions, in seconds.")
    cache_size: Size = Field(default=16 << 20, description="Octets of memory for answers that are kept, per worker.")
    cache_time: Duration = Field(
        default=86_400.0, description="How long an answer is kept at most, in seconds; its own time is often less."
    )
    negative_time: Duration = Field(
        default=3600.0,
        description="How long the answer that a name or record is not there is kept at most, in seconds.",
    )
    failures: Positive = Field(
        default=5,
        description="Questions in a row that nobody answers after which a name, a zone, or all servers are left alone.",
    )
    open_time: Duration = Field(
        default=30.0, description="How long they are left alone, in seconds; then one question finds out more."
    )
