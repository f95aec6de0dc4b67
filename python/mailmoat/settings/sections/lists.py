"""`[lists]`: the operator's own files of clients to refuse and to trust, and what a refused client is told."""

import re
from typing import Annotated, Final, Literal

from pydantic import Field, PlainValidator

from mailmoat.settings import notation, values
from mailmoat.settings.fields import Paths, Recipients
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section

LONGEST_TEXT: Final = 240
"""Characters of a reply's text, before the address is put in."""


def reply_text(value: object) -> str:
    """Read printable ASCII in which %s stands for the client's address."""
    written = str(value).strip()
    if not re.fullmatch(r"[ -~]*", written):
        raise ValueError("not printable ASCII, which a reply must be")
    if len(written) > LONGEST_TEXT:
        raise ValueError(f"longer than {LONGEST_TEXT} characters")
    if "%" in written.replace("%s", ""):
        raise ValueError("% stands for nothing but the address, as %s")
    return written


def needed_text(value: object) -> str:
    """Read the same, but not empty."""
    written = reply_text(value)
    if not written:
        raise ValueError("empty")
    return written


class ListsSettings(Section):
    """The connection filter: clients that are refused, and clients that no filter judges."""

    block_files: Paths = Field(
        default=(),
        description="Files of clients that are refused, beside those of `mailmoat block`: an address or a prefix on each line, `until=2030-12-31` if it ends, a reason after `#`. Read again when they change.",
    )
    allow_files: Paths = Field(
        default=(),
        description="Files, of the same form, of clients that no limit, tarpit or filter applies to; relay control and the recipient filter do.",
    )
    refuse_at: Annotated[
        Literal["recipient", "connect"],
        PlainValidator(values.one_of("recipient", "connect")),
        Form("recipient or connect", notation.show),
    ] = Field(
        default="recipient",
        description="When a blocked client is refused: at each `recipient` (550), so that the log says for whom it was, or when it `connect`s (554).",
    )
    reply: Annotated[
        str, PlainValidator(needed_text), Form("text in printable ASCII, with %s for the address", notation.show)
    ] = Field(default="Client [%s] is blocked", description="Text of the refusal; %s is the client's address.")
    url: Annotated[
        str, PlainValidator(reply_text), Form("a URL such as https://example.com/blocked?ip=%s", notation.show)
    ] = Field(
        default="",
        description="Where a refused client finds help, added to the text; %s is the client's address. Empty = nothing.",
    )
    open_recipients: Recipients = Field(
        default=(),
        description="Recipients that no filter refuses a client or a sender, beside postmaster: relay control and the recipient filter do.",
    )
