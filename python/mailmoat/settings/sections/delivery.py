"""`[delivery]`: how accepted messages are delivered; and what of it a route can have of its own."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, PlainValidator, ValidationInfo, field_validator

from mailmoat.net import address
from mailmoat.settings import notation, values
from mailmoat.settings.fields import Duration, OptionalPath, OptionalRate, Positive, Switch, Wait
from mailmoat.settings.next_hop import OptionalNextHop
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section
from mailmoat.settings.values import contradiction

LARGEST_RETURN: Final = 128 << 10
"""Octets of a message that a report can hold: a report is made in memory and stored like any message, the message in it."""


def original_size(value: object) -> int:
    """Read the octets up to which a message is returned whole; ValueError for more than a report can hold."""
    octets = values.size(value)
    if octets > LARGEST_RETURN:
        raise ValueError("more than a report can hold")
    return octets


def retry_waits(value: object) -> tuple[float, ...]:
    """Read the seconds between attempts from `1m*4, 10m*6, 30m`; the last one repeats."""
    waits: list[float] = []
    for item in values.items(value):
        wait, star, times = str(item).partition("*") if isinstance(item, str) else (item, "", "")
        seconds, repeat = values.duration(wait), values.positive(times) if star else 1
        if seconds < 1 or len(waits) + repeat > 1000:  # noqa: PLR2004 - the reason is in the text
            raise ValueError("a wait below one second" if seconds < 1 else "more than 1000 waits")
        waits.extend([seconds] * repeat)
    if not waits:
        raise ValueError("no wait in it")
    return tuple(waits)


def is_address(host: str) -> bool:
    """Return whether a host is given by its address."""
    try:
        address.parse(host)
    except ValueError:
        return False
    return True


class NextHopSettings(Section):
    """What concerns one next hop: of `[delivery]`, and of each of `[[routes]]`."""

    next_hop: OptionalNextHop = Field(
        default=None, description="Where accepted messages go. Without one they stay in the spool until they expire."
    )
    connections: Positive = Field(
        default=20,
        description="Connections to the next hop at the same time, of all workers together. Where it is `mx`: to each domain.",
    )
    rate: OptionalRate = Field(
        default=None,
        description="Messages to the next hop in a time, of all workers together, such as `600/min burst 20`. Where it is `mx`: to each domain.",
    )
    retry: Annotated[
        tuple[float, ...],
        PlainValidator(retry_waits),
        Form("waits such as 1m*4, 10m*6, 30m", notation.show_retry),
    ] = Field(
        default=retry_waits("1m*4, 10m*6, 30m"),
        description="Waits between the attempts for one message; the last one repeats. `10m*6` is six times ten minutes.",
    )
    expire: Duration = Field(
        default=432_000.0,
        description="Age, in seconds, at which an undelivered message expires and its sender gets a bounce.",
    )
    delay_report: Duration = Field(
        default=14_400.0,
        description="Age, in seconds, at which the sender of an undelivered message gets a report that it is delayed. 0 = never.",
    )
    connect_time: Wait = Field(default=30.0, description="Wait for a connection to the next hop, in seconds.")
    greeting_time: Wait = Field(
        default=300.0,
        description="Wait for the next hop's greeting and for each reply before MAIL, in seconds.",
    )
    handshake_time: Wait = Field(
        default=30.0,
        description='Wait for the end of the TLS handshake, in seconds. After it, a connection in clear is tried if `tls = "may"`.',
    )
    mail_time: Wait = Field(default=300.0, description="Wait for the reply to MAIL, in seconds.")
    rcpt_time: Wait = Field(default=300.0, description="Wait for the reply to RCPT, in seconds.")
    data_time: Wait = Field(default=120.0, description="Wait for the reply to DATA, in seconds.")
    block_time: Wait = Field(
        default=180.0, description="Wait until the next hop accepts a block of content, in seconds."
    )
    end_of_data_time: Wait = Field(default=600.0, description="Wait for the reply to the end of data, in seconds.")
    idle_time: Wait = Field(
        default=5.0, description="How long an unused connection to the next hop is kept, in seconds."
    )
    tls: Annotated[
        Literal["none", "may", "encrypt", "verify", "dane"],
        PlainValidator(values.one_of("none", "may", "encrypt", "verify", "dane")),
        Form("none, may, encrypt, verify or dane", notation.show),
    ] = Field(
        default="may",
        validate_default=True,
        description="TLS to the next hop. `may`: where it is offered and works; `encrypt`: never without; `verify`: and only with a certificate that `tls_ca` signed for the name of the next hop; `dane`: only to servers that TLSA records authenticate, where the next hop is `mx`.",
    )
    tls_optional: Switch = Field(
        default=True,
        description="A message with the header field `TLS-Required: No` (RFC 8689), and without REQUIRETLS, is sent as with `may`, whatever `tls` says. Off: the field counts for nothing.",
    )
    tls_names: Annotated[
        tuple[Annotated[str, PlainValidator(values.host_name)], ...],
        BeforeValidator(values.items),
        Form("names such as hub.example.com, separated by commas", notation.show),
    ] = Field(
        default=(),
        validate_default=True,
        description="Names of which the next hop's certificate must have one. Empty = the host in `next_hop`.",
    )
    tls_ca: OptionalPath = Field(
        default=None,
        description="File with the CA certificates (PEM) by which the next hop is verified. Empty = those of the system.",
    )
    tls_certificate: OptionalPath = Field(
        default=None, description="File with the certificate (PEM) that the next hop gets when it asks for one."
    )
    tls_key: OptionalPath = Field(
        default=None, description="File with its private key (PEM). Empty = it is in `tls_certificate`."
    )
    auth_name: Annotated[
        str | None, PlainValidator(values.optional(values.text)), Form("the name of an account", notation.show)
    ] = Field(
        default=None,
        description='Account of this server at the next hop (SCRAM-SHA-256; PLAIN and LOGIN only with `tls = "verify"`).',
    )
    auth_password_file: OptionalPath = Field(
        default=None, validate_default=True, description="File with its password alone. Read again when it changes."
    )
    chunking: Switch = Field(
        default=True,
        description="Use BDAT (CHUNKING) with a next hop that offers it. Off: DATA always, for servers that break off in BDAT; then BINARYMIME is not offered to clients either.",
    )
    xclient: Switch = Field(
        default=False,
        description="Pass the client's address and name to a next hop that offers XCLIENT or XFORWARD.",
    )
    bounce_tags: Annotated[
        Literal["mx", "always", "never"],
        PlainValidator(values.one_of("mx", "always", "never")),
        Form("mx, always or never", notation.show),
    ] = Field(
        default="mx",
        description="Where reverse-paths are signed, unless `bounce_tags.mode` is off: at MX hosts, at every next hop of the route, or not.",
    )

    @field_validator("tls")
    @classmethod
    def _tls_fits_the_next_hop(cls, value: str, others: ValidationInfo) -> str:
        hop = others.data.get("next_hop")
        if value == "none" and hop is not None and any(server.scheme == "smtps" for server in hop.servers):
            raise contradiction("at smtps:// there is nothing but TLS", "write may, encrypt or verify")
        if value == "dane" and hop is not None and any(server.socket is None for server in hop.servers):
            raise contradiction(
                "TLSA records are looked up for the servers of mx alone", "write verify, or next_hop = mx"
            )
        return value

    @field_validator("tls_names")
    @classmethod
    def _there_is_a_name_to_verify(cls, value: tuple[str, ...], others: ValidationInfo) -> tuple[str, ...]:
        hop = others.data.get("next_hop")
        hosts = [server.host for server in hop.servers if server.host] if hop is not None else []
        if not value and others.data.get("tls") == "verify" and any(map(is_address, hosts)):
            raise ValueError("delivery.tls is verify and the next hop has no name, only an address")
        return value

    @field_validator("tls_key")
    @classmethod
    def _key_of_a_certificate(cls, value: Path | None, others: ValidationInfo) -> Path | None:
        if value is not None and others.data.get("tls_certificate") is None:
            raise contradiction("a key without delivery.tls_certificate", "set that, too, or remove this")
        return value

    @field_validator("auth_name")
    @classmethod
    def _account_of_a_server(cls, value: str | None, others: ValidationInfo) -> str | None:
        hop = others.data.get("next_hop")
        if value is not None and hop is not None and hop.kind == "mx":
            raise contradiction(
                "an account is for one server, and the next hop mx is whatever server a domain names",
                "write smtp:// or smtps:// with that server, or remove delivery.auth_name",
            )
        return value

    @field_validator("auth_password_file")
    @classmethod
    def _name_and_password(cls, value: Path | None, others: ValidationInfo) -> Path | None:
        if "auth_name" in others.data and (value is None) != (others.data["auth_name"] is None):
            given = value is not None
            wrong = "delivery.auth_name is not set" if given else "delivery.auth_name is set, without a password"
            raise contradiction(wrong, "set both or neither")
        return value


class DeliverySettings(NextHopSettings):
    """How accepted messages are delivered."""

    return_size: Annotated[
        int,
        PlainValidator(original_size),
        Form(f"octets, up to {notation.show_size(LARGEST_RETURN)}, such as 50000 or 64KiB", notation.show_size),
    ] = Field(
        default=50_000,
        description="Octets up to which a bounce to a verified sender contains the complete message; otherwise it contains the header section.",
    )
