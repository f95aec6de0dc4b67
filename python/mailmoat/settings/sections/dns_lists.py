"""`[dns_lists]`: block and allow lists in the DNS (RFC 5782), and what follows when a client is listed."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, PlainValidator, field_validator, model_validator
from pydantic_core import PydanticCustomError

from mailmoat.settings import notation, values
from mailmoat.settings.array import show_rows
from mailmoat.settings.fields import Domain, Positive, Switch, Wait
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section

MOST_PROVIDERS: Final = 10
LONGEST_TEXT: Final = 240
"""Characters, as in Exchange."""
PLACEHOLDERS: Final = ("{address}", "{zone}", "{reason}")

_OCTET: Final = r"(\d{1,3}|\[\d{1,3}-\d{1,3}\])"
_PATTERN: Final = re.compile(rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}", re.ASCII)
_PLACEHOLDER_LIKE: Final = re.compile(r"\{[^{}]*\}|[{}]|%\w")
_LOOPBACK: Final = range(127, 128)


@dataclass(frozen=True, slots=True)
class AnswerPattern:
    """Answers that mean "listed": an address of 127.0.0.0/8, each octet a number or a range."""

    octets: tuple[range, ...]
    text: str

    def matches(self, address: IPv4Address) -> bool:
        """Return whether an answer is one of them."""
        return all(octet in allowed for octet, allowed in zip(address.packed, self.octets, strict=True))

    def __str__(self) -> str:
        return self.text


def answer_pattern(value: object) -> AnswerPattern:
    """Read `127.0.0.2` or `127.0.0.[2-11]`."""
    if isinstance(value, AnswerPattern):
        return value
    written = values.text(value)
    match = _PATTERN.fullmatch(written)
    octets = tuple(map(_octet, match.groups())) if match else ()
    if not octets or octets[0] != _LOOPBACK:
        raise ValueError("not an address in 127.0.0.0/8, with or without ranges")
    return AnswerPattern(octets, written)


def _octet(written: str) -> range:
    first, _, last = written.strip("[]").partition("-")
    octets = range(int(first), int(last or first) + 1)
    if not octets or octets[-1] > 255:  # noqa: PLR2004 - the greatest octet
        raise ValueError(f"{written} is not an octet or a range of them")
    return octets


def parse_bit_mask(value: object) -> int:
    """Read the bits of an answer that mean "listed", as an address `0.0.0.6`; an empty text is none."""
    if value == "":
        return 0
    try:
        mask = int(IPv4Address(value if isinstance(value, int) else values.text(value)))
    except AddressValueError:
        raise ValueError("not an address such as 0.0.0.6") from None
    if mask >> 24:
        raise ValueError("the first octet of a bit mask is 0: that of an answer is always 127")
    return mask


def _show_bit_mask(value: object) -> str:
    return str(IPv4Address(value)) if isinstance(value, int) and value else ""


def reply_text(value: object) -> str:
    """Read the text of a refusal: printable ASCII with `PLACEHOLDERS`."""
    written = values.text(value)
    if len(written) > LONGEST_TEXT or not (written.isascii() and written.isprintable()):
        raise ValueError(f"not a text of up to {LONGEST_TEXT} characters of printable ASCII")
    for placeholder in _PLACEHOLDER_LIKE.findall(written):
        if placeholder not in PLACEHOLDERS:
            raise ValueError(f"{placeholder} is not a placeholder; the placeholders are {', '.join(PLACEHOLDERS)}")
    return written


class DnsListProvider(Section):
    """One list in the DNS."""

    zone: Domain = Field(description="Zone that is queried, such as `dnsbl.example.org`.")
    kind: Annotated[
        Literal["block", "allow"],
        PlainValidator(values.one_of("block", "allow")),
        Form("block or allow", notation.show),
    ] = Field(
        default="block",
        description="block: a listed client counts with `weight`. allow: a listed client is known to be good; no block list and no other filter judges it, but relay control and the recipient filter do.",
    )
    weight: Positive = Field(default=1, description="What a listed client counts towards `dns_lists.threshold`.")
    answers: Annotated[
        tuple[Annotated[AnswerPattern, PlainValidator(answer_pattern)], ...],
        BeforeValidator(values.items),
        Form("addresses such as 127.0.0.2 or 127.0.0.[2-11], separated by commas", notation.show),
    ] = Field(
        default=(),
        description="Answers that mean that the client is listed; an octet can be a range. Empty, and without `bit_mask`: all in 127.0.0.0/8. 127.0.0.1 and those in 127.255.255.0/24 never mean that.",
    )
    bit_mask: Annotated[
        int, PlainValidator(parse_bit_mask), Form("bits as an address such as 0.0.0.6", _show_bit_mask)
    ] = Field(default=0, description="Bits of an answer, each of which means that the client is listed, as `0.0.0.6`.")
    text: Annotated[
        str, PlainValidator(reply_text), Form(f"up to {LONGEST_TEXT} characters of printable ASCII", notation.show)
    ] = Field(
        default="Client host [{address}] is listed by {zone}. {reason}",
        description="Text of the refusal, behind 550 5.7.1. `{address}`: of the client; `{zone}`; `{reason}`: the TXT record of the provider about the client, which is looked up only when the text has it.",
    )
    test: Switch = Field(
        default=True,
        description="Require the test entries of RFC 5782 5: 127.0.0.2 must be listed. false: for a list of your own without them. That 127.0.0.1 is not listed is always required.",
    )

    @model_validator(mode="after")
    def _allow_has_no_weight(self) -> Self:
        if self.kind == "allow" and "weight" in self.model_fields_set:
            error = "a provider of kind allow has no weight, because no block list counts for a client that it lists"
            raise PydanticCustomError("weightless", "{error}", {"error": error, "name": "weight", "value": self.weight})
        return self


class DnsListsSettings(Section):
    """Block and allow lists in the DNS."""

    action: Annotated[
        Literal["stamp", "reject"],
        PlainValidator(values.one_of("stamp", "reject")),
        Form("stamp or reject", notation.show),
    ] = Field(
        default="stamp",
        description="What happens to messages of a client whose sum of weights reaches the threshold: a header field `X-Mailmoat-Filter`, or 550 for each recipient.",
    )
    threshold: Positive = Field(default=1, description="Sum of the weights of the block lists that have the client.")
    time: Wait = Field(
        default=3.0,
        description="Time for all lookups of a client, in seconds, from HELO on; what is not answered by then does not count.",
    )
    providers: Annotated[
        tuple[DnsListProvider, ...], Form(f"[[dns_lists.providers]] for each, up to {MOST_PROVIDERS}", show_rows)
    ] = Field(default=(), description="The lists that are queried, as an array of tables. None = off.")

    @field_validator("providers")
    @classmethod
    def _not_too_many(cls, value: tuple[DnsListProvider, ...]) -> tuple[DnsListProvider, ...]:
        if len(value) > MOST_PROVIDERS:
            raise ValueError(f"{len(value)} providers, more than {MOST_PROVIDERS}")
        return value
