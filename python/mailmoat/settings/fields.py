"""The kinds of settings that several sections have: each a type, its reader, and how it is written."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, PlainValidator

from mailmoat.settings import notation, rate, values
from mailmoat.settings.notation import Form
from mailmoat.settings.rate import Rate

OptionalRate = Annotated[
    Rate | None,
    PlainValidator(rate.rate),
    Form("a rate such as 600/min, 600/min burst 100 or 30/10min, or off", rate.show),
]
OptionalByteRate = Annotated[
    Rate | None,
    PlainValidator(rate.byte_rate),
    Form("octets in a time such as 1GiB/hour or 1GiB/hour burst 256MiB, or off", rate.show_bytes),
]
Duration = Annotated[
    float,
    PlainValidator(values.duration),
    Form("seconds, or a number with s, m, h or d, such as 5s, 4m or 2h", notation.show_duration),
]
Wait = Annotated[
    float,
    PlainValidator(values.wait),
    Form("seconds above 0, or a number with s, m, h or d, such as 2s or 1m", notation.show_duration),
]
Count = Annotated[int, PlainValidator(values.count), Form("a whole number, 0 or more", notation.show)]
Positive = Annotated[int, PlainValidator(values.positive), Form("a whole number, 1 or more", notation.show)]
Percent = Annotated[int, PlainValidator(values.percent), Form("a whole number from 0 to 100", notation.show)]
Size = Annotated[int, PlainValidator(values.size), Form("octets, or a number with KiB, MiB or GiB", notation.show_size)]
Switch = Annotated[bool, PlainValidator(values.switch), Form("true or false", notation.show)]
FilterAction = Annotated[
    Literal["off", "stamp", "reject"],
    PlainValidator(values.one_of("off", "stamp", "reject")),
    Form("off, stamp or reject", notation.show),
]
Domain = Annotated[str, PlainValidator(values.domain), Form("a domain such as mx.example.com", notation.show)]
OptionalDomain = Annotated[
    str | None, PlainValidator(values.optional(values.domain)), Form("a domain such as example.com", notation.show)
]
Domains = Annotated[
    tuple[Domain, ...],
    BeforeValidator(values.items),
    Form("domains such as example.com, separated by commas", notation.show),
]
Networks = Annotated[
    tuple[Annotated[IPv4Network | IPv6Network, PlainValidator(values.network)], ...],
    BeforeValidator(values.items),
    Form("networks such as 192.0.2.0/24 or 2001:db8::/32, separated by commas", notation.show),
]
Recipients = Annotated[
    tuple[Annotated[str, PlainValidator(values.recipient_key)], ...],
    BeforeValidator(values.items),
    Form("addresses such as all@example.com, separated by commas", notation.show),
]
Names = Annotated[
    tuple[Annotated[str, PlainValidator(values.name)], ...],
    BeforeValidator(values.items),
    Form("names such as helo_address, separated by commas", notation.show),
]
Directory = Annotated[Path, PlainValidator(values.path), Form("a directory", notation.show, notation.below)]
OptionalPath = Annotated[
    Path | None, PlainValidator(values.optional(values.path)), Form("a path", notation.show, notation.below)
]
Paths = Annotated[
    tuple[Annotated[Path, PlainValidator(values.path)], ...],
    BeforeValidator(values.items),
    Form("paths, separated by commas", notation.show, notation.each_below),
]
