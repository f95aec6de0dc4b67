"""`[[recipient_domains]]`: which spellings of a recipient are one mailbox, at domains where that is not as usual (RFC 5321 2.4)."""

from collections import Counter
from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field, PlainValidator
from pydantic_core import PydanticCustomError

from mailmoat._native import Normalisation
from mailmoat.settings import notation, values
from mailmoat.settings.fields import Domains
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section
from mailmoat.settings.sections.recipients import OptionalDelimiter, RecipientsSettings


class RecipientDomainSettings(Section):
    """One row."""

    domains: Domains = Field(description="Domains of the recipients.")
    dots: Annotated[
        Literal["keep", "ignore"],
        PlainValidator(values.one_of("keep", "ignore")),
        Form("keep or ignore", notation.show),
    ] = Field(
        default="keep",
        description="Whether dots in the part before the @ mean something. With `ignore`, `a.li.ce@` is `alice@`, as at Gmail.",
    )
    case: Annotated[
        Literal["ignore", "keep"],
        PlainValidator(values.one_of("ignore", "keep")),
        Form("ignore or keep", notation.show),
    ] = Field(
        default="ignore",
        description="Whether upper and lower case are different there. With `keep`, `Alice@` is not `alice@`: only for a next hop that distinguishes them.",
    )
    delimiter: OptionalDelimiter = Field(default=None, description="As `recipients.delimiter`, for these domains.")


def delimiter_of(recipients: RecipientsSettings, row: RecipientDomainSettings) -> str:
    """Return the characters that begin a subaddress at the domains of a row."""
    return recipients.delimiter if row.delimiter is None else row.delimiter


def normalisation(
    recipients: RecipientsSettings, rows: tuple[RecipientDomainSettings, ...], local_domains: Collection[str]
) -> Normalisation:
    """Return by which spelling recipients are looked up and compared; at local domains details are handed on to the targets of aliases."""
    given = [
        (domain, row.dots, row.case, delimiter_of(recipients, row)) for row in rows for domain in sorted(row.domains)
    ]
    return Normalisation(recipients.delimiter, given, sorted(local_domains))


def remarks(recipients: RecipientsSettings, rows: tuple[RecipientDomainSettings, ...], domain: str) -> str:
    """Return in a few words what is not as usual at a domain; empty where all is."""
    row = next((row for row in rows if domain in row.domains), None)
    if row is None:
        return ""
    begin = delimiter_of(recipients, row)
    words = [
        "dots are ignored" if row.dots == "ignore" else "",
        "upper and lower case are different" if row.case == "keep" else "",
        f"subaddresses begin with {' or '.join(begin)}" if begin else "there are no subaddresses",
    ]
    return f"at {domain} {', '.join(filter(None, words))}"


def not_contradictory(recipients: RecipientsSettings, rows: tuple[RecipientDomainSettings, ...]) -> None:
    """Raise PydanticCustomError for the first row that contradicts itself or another one."""
    times = Counter(domain for row in rows for domain in row.domains)
    for number, row in enumerate(rows):
        if not row.domains:
            raise _mistake(number, "domains", "", "no domain is named")
        twice = next((domain for domain in row.domains if times[domain] > 1), None)
        if twice is not None:
            raise _mistake(number, "domains", twice, "it is listed twice; name a domain in one row, once")
        begin = delimiter_of(recipients, row)
        if row.dots == "ignore" and "." in begin:
            raise _mistake(number, "delimiter", begin, "a dot cannot begin a subaddress where dots are ignored")


def _mistake(number: int, name: str, value: str, error: str) -> PydanticCustomError:
    context = {"error": error, "key": f"recipient_domains.{number}.{name}", "value": value}
    return PydanticCustomError("contradiction", "{error}", context)
