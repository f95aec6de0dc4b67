"""`[tls]`: certificates, and what clients must and may do with TLS."""

import re
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, PlainValidator, ValidationInfo, field_validator

from mailmoat.settings import notation, values
from mailmoat.settings.fields import Count, Domains, Duration, Networks, OptionalPath, Paths, Switch, Wait
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section
from mailmoat.settings.values import contradiction

LEAST_ROTATION: Final = 600
"""Seconds a ticket key is used at least."""

_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


def fingerprint(value: object) -> str:
    """Read the SHA-256 of a certificate: 64 hexadecimal digits, with or without colons."""
    digits = values.text(value).replace(":", "").lower()
    if not _FINGERPRINT.fullmatch(digits):
        raise ValueError("not a SHA-256 fingerprint")
    return digits


def rotation(value: object) -> float:
    """Read the time for which a ticket key is used; ValueError for less than `LEAST_ROTATION`."""
    seconds = values.duration(value)
    if seconds < LEAST_ROTATION:
        raise ValueError(f"below {notation.show_duration(LEAST_ROTATION)}")
    return seconds


class TlsSettings(Section):
    """Certificates, and what clients must and may do with TLS."""

    certificate: Paths = Field(
        default=(),
        description="Files with a certificate and those of its CAs (PEM, the server's own first). A client gets the first file whose certificate is for the name it asks for, else the first. Read again when they change. Empty: a self-signed certificate is made below `spool_dir`.",
    )
    key: Paths = Field(
        default=(),
        description="Files with the private keys (PEM, without a passphrase), one for each of `tls.certificate` in the same order. Empty: each key is in the file of its certificate.",
    )
    minimum: Annotated[
        Literal["1.2", "1.3"],
        PlainValidator(values.one_of("1.2", "1.3")),
        Form("1.2 or 1.3", notation.show),
    ] = Field(
        default="1.2", description="The oldest version of TLS that clients may use. There is no older one than 1.2."
    )
    offer: Switch = Field(
        default=True,
        description="Offer STARTTLS where TLS is not on from the first octet. `submission://` addresses always offer it.",
    )
    client_ca: OptionalPath = Field(
        default=None, description="File with the CA certificates (PEM) by which certificates of clients are verified."
    )
    client_certificates: Annotated[
        Literal["off", "record", "verify", "require"],
        PlainValidator(values.one_of("off", "record", "verify", "require")),
        Form("off, record, verify or require", notation.show),
    ] = Field(
        default="off",
        description="Whether clients are asked for a certificate. `record`: any is accepted and logged with its fingerprint; `verify`: one that `tls.client_ca` did not sign ends the connection; `require`: so does none.",
    )
    client_subjects: Annotated[
        tuple[Annotated[str, PlainValidator(values.text)], ...],
        BeforeValidator(values.items),
        Form("names such as relay.example.com, separated by commas", notation.show),
    ] = Field(
        default=(),
        description="Clients with a verified certificate for one of these names count as authenticated.",
    )
    client_fingerprints: Annotated[
        tuple[Annotated[str, PlainValidator(fingerprint)], ...],
        BeforeValidator(values.items),
        Form("SHA-256 fingerprints of 64 hexadecimal digits, separated by commas", notation.show),
    ] = Field(
        default=(),
        description="Clients whose certificate has one of these SHA-256 fingerprints count as authenticated, whoever signed it.",
    )
    tickets: Count = Field(
        default=2,
        description="Session tickets that a client gets, with which it resumes TLS on any worker. 0 = off; they are off as well when certificates of clients are asked for.",
    )
    ticket_rotation: Annotated[
        float,
        PlainValidator(rotation),
        Form("a duration of 10m or more, such as 12h", notation.show_duration),
    ] = Field(
        default=43_200.0,
        description="How long a ticket key is used, in seconds; tickets are accepted for up to twice as long.",
    )
    handshake_time: Wait = Field(default=30.0, description="Wait for the end of a TLS handshake, in seconds.")
    handshakes: Count = Field(
        default=1000,
        description="TLS handshakes at the same time in a worker; beyond it the oldest is closed, or if none has lasted for 2 s, "
        "STARTTLS gets 454 4.7.0. 0 = off.",
    )
    handshakes_per_source: Count = Field(
        default=50,
        description="TLS handshakes at the same time in a worker from one IPv4 address or IPv6 /64. 0 = off.",
    )
    withhold: Duration = Field(
        default=3600.0,
        description="How long, in seconds, a source address is not offered STARTTLS after a handshake in which it had no version or cipher suite in common with this server, unless another one was done in that time. 0 = off.",
    )
    withhold_networks: Networks = Field(default=(), description="Networks that are never offered STARTTLS.")
    required_networks: Networks = Field(
        default=(),
        description="Networks whose clients can send mail only with TLS: without it all commands but EHLO, NOOP, STARTTLS and QUIT get 530 5.7.0. What counts is the connection: a client that a server in front names by XCLIENT is not asked for TLS of its own.",
    )
    required_domains: Domains = Field(
        default=(),
        description="Domains of senders whose mail is accepted only with TLS: MAIL gets 550 5.7.10 without it.",
    )

    @field_validator("key")
    @classmethod
    def _as_many_as_certificates(cls, value: tuple[object, ...], others: ValidationInfo) -> tuple[object, ...]:
        certificates = others.data.get("certificate", ())
        if value and len(value) != len(certificates):
            wrong = f"not one for each of tls.certificate: {len(value)} for {len(certificates)}"
            raise contradiction(wrong, "name as many, or none where the keys are in the certificate files")
        return value

    @field_validator("client_certificates")
    @classmethod
    def _there_is_a_ca_to_verify_by(cls, value: str, others: ValidationInfo) -> str:
        if value in {"verify", "require"} and others.data.get("client_ca") is None:
            raise contradiction(
                "nothing can be verified without tls.client_ca", "name its file, too, or write off or record"
            )
        return value
