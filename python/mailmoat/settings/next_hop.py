"""The next hop: value and notation.

In the path of a `maildir:`, placeholders are replaced by the parts of each recipient's address. An unknown placeholder is a mistake:
it would be a directory of that name, one for all recipients.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import PlainValidator

from mailmoat._native import normalise_domain
from mailmoat.net import address, endpoint
from mailmoat.settings import notation, values
from mailmoat.settings.notation import Form

MARKS: Final = ("{local}", "{domain}")
_MARK_LIKE: Final = re.compile(r"%?\{[^{}]*\}|[{}]|%\w")
_PORTS: Final = {"smtp": 25, "smtps": 465, "lmtp": 24}


@dataclass(frozen=True, slots=True)
class NextHop:
    """Where accepted messages go: a server (host, port), a Maildir (path), or nowhere. `text` is the written form."""

    kind: Literal["smtp", "smtps", "lmtp", "maildir", "discard"]
    host: str
    port: int
    path: Path | None
    text: str

    @property
    def is_local(self) -> bool:
        """Messages end here: in a Maildir, or nowhere."""
        return not self.host

    def __str__(self) -> str:
        return self.text


def parse_next_hop(value: object) -> NextHop:
    """Read `smtp://host:port`, `smtps://host:port`, `lmtp://host:port`, `maildir:PATH` or `discard:`."""
    if isinstance(value, NextHop):
        return value
    written = values.text(value)
    kind, _, rest = written.partition(":")
    match kind:
        case "smtp" | "smtps" | "lmtp" if rest.startswith("//"):
            server = endpoint.to_connect(rest[2:].rstrip("/"), _PORTS[kind])
            host = _host(server.host)
            return NextHop(kind, host, server.port, None, f"{kind}://{endpoint.bracketed(host)}:{server.port}")
        case "maildir" if rest:
            return NextHop("maildir", "", 0, parse_maildir_path(rest), written)
        case "discard" if not rest:
            return NextHop("discard", "", 0, None, "discard:")
    raise ValueError("not a next hop")


def parse_maildir_path(written: str) -> Path:
    """Give the path as written; ValueError names what looks like a mark and is none."""
    for mark in _MARK_LIKE.findall(written):
        if mark not in MARKS:
            raise ValueError(
                f"{mark} is not a placeholder in the path of a Maildir; the placeholders are {' and '.join(MARKS)}"
            )
    return Path(written)


def below(written: str, directory: Path) -> str:
    """Put the relative path of a `maildir:` below `directory`; anything else is as it was."""
    kind, colon, rest = written.strip().partition(":")
    return f"{kind}:{directory / rest}" if kind == "maildir" and colon and rest else written


def _host(written: str) -> str:
    try:
        return address.canonical(written)
    except ValueError:
        name = normalise_domain(written)
    if name.rpartition(".")[2].isdigit():
        raise ValueError(f"{name} is neither an address nor a name: the last part of a name is no number")
    return name


OptionalNextHop = Annotated[
    NextHop | None,
    PlainValidator(values.optional(parse_next_hop)),
    Form("smtp://host:port, smtps://host:port, lmtp://host:port, maildir:PATH or discard:", notation.show, below),
]
