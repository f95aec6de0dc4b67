"""`[reports]`: the texts of reports about messages that were, or were not yet, or could not be delivered."""

from typing import Annotated

from pydantic import BeforeValidator, Field, PlainValidator

from mailmoat.settings import notation, values
from mailmoat.settings.fields import OptionalPath, Switch
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section


def language(value: object) -> str:
    """Read the tag of a language, such as `en` or `pt-br`, in small letters; ValueError for what cannot be one."""
    tag = values.text(value).lower()
    if not all(part.isascii() and part.isalnum() and len(part) <= 8 for part in tag.split("-")):  # noqa: PLR2004 - RFC 5646 2.1
        raise ValueError("not a language")
    return tag


class ReportsSettings(Section):
    """The texts of reports about messages that were, or were not yet, or could not be delivered."""

    languages: Annotated[
        tuple[Annotated[str, PlainValidator(language)], ...],
        BeforeValidator(values.items),
        Form("languages such as en or ja, en, separated by commas", notation.show),
    ] = Field(
        default=("en",),
        description="Languages of reports. Shipped: `en`, `ja`, `pl`. With several, a report has its text in each of them.",
    )
    match_original: Switch = Field(
        default=True,
        description="Write a report in the language of the message, if its header names one that there are texts in (`Content-Language`, else `Accept-Language`).",
    )
    templates: OptionalPath = Field(
        default=None,
        description="Directory with texts of your own, a file for each language, such as `de.txt`. Empty = those that are shipped.",
    )
