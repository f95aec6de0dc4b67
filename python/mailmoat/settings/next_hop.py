"""The next hop: value and notation.

A list of servers has ranks, with `,` between them: a server of the next rank is used only while all of the ranks before are away. Servers of
one rank, with `|` between them, share the load by their weights: `smtp://a*3 | smtp://b, smtp://backup`.

In the path of a `maildir:`, placeholders are replaced by the parts of each recipient's address. An unknown placeholder is a mistake:
it would be a directory of that name, one for all recipients.
"""

import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Final, Literal, cast

from pydantic import PlainValidator

from mailmoat._native import normalise_domain
from mailmoat.net import address, endpoint
from mailmoat.settings import notation, values
from mailmoat.settings.notation import Form

MARKS: Final = ("{local}", "{domain}")
MOST_SERVERS: Final = 100
NOT_A_NEXT_HOP: Final = "not a next hop"
MOST_WEIGHT: Final = 1000
SMTP_PORT: Final = 25
_MARK_LIKE: Final = re.compile(r"%?\{[^{}]*\}|[{}]|%\w")
_PORTS: Final = {"smtp": SMTP_PORT, "smtps": 465, "lmtp": 24}
_SERVER: Final = re.compile(r"\s*(smtp|smtps|lmtp)://(\S*?)(?:\*(\d+))?\s*", re.ASCII)

Scheme = Literal["smtp", "smtps", "lmtp"]


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is spoken to: at a host and a port, or at a Unix socket."""

    scheme: Scheme
    host: str
    """A name, or an address without brackets; empty at a Unix socket."""
    port: int
    socket: Path | None = None
    weight: int = 1
    """Its part of the load, beside the others of its rank."""

    @property
    def place(self) -> str:
        """Where it is, without its weight."""
        if self.socket is not None:
            return f"{self.scheme}://{self.socket}"
        return f"{self.scheme}://{endpoint.bracketed(self.host)}:{self.port}"

    def __str__(self) -> str:
        return self.place if self.weight == 1 else f"{self.place}*{self.weight}"


@dataclass(frozen=True, slots=True)
class NextHop:
    """Where accepted messages go: to servers, to those that the MX records of a recipient's domain name, into a Maildir, or nowhere."""

    kind: Literal["servers", "mx", "maildir", "discard"]
    text: str
    """The written form."""
    ranks: tuple[tuple[Server, ...], ...] = ()
    """The servers, those of the first rank first."""
    path: Path | None = None
    """Of the Maildir."""

    @property
    def servers(self) -> tuple[Server, ...]:
        """The servers of all ranks."""
        return tuple(chain.from_iterable(self.ranks))

    @property
    def is_local(self) -> bool:
        """Messages end here: in a Maildir, or nowhere."""
        return self.kind in {"maildir", "discard"}

    def __str__(self) -> str:
        return self.text


def parse_next_hop(value: object) -> NextHop:
    """Read servers (`smtp://host:port`, `smtps://`, `lmtp://`, `lmtp:///PATH`), `mx`, `maildir:PATH` or `discard:`."""
    if isinstance(value, NextHop):
        return value
    written = values.text(value)
    kind, colon, rest = written.partition(":")
    match kind:
        case "mx" if not colon:
            return NextHop("mx", "mx")
        case "maildir" if rest:
            return NextHop("maildir", written, path=parse_maildir_path(rest))
        case "discard" if colon and not rest:
            return NextHop("discard", "discard:")
    ranks = tuple(tuple(map(parse_server, rank.split("|"))) for rank in written.split(","))
    found = NextHop("servers", ", ".join(" | ".join(map(str, rank)) for rank in ranks), ranks)
    places = [server.place for server in found.servers]
    if len(places) > MOST_SERVERS:
        raise ValueError(f"{len(places)} servers, more than {MOST_SERVERS}")
    for place in places:
        if places.count(place) > 1:
            raise ValueError(f"{place} is listed twice; a weight such as *2 gives a server more of the load")
    return found


def parse_server(written: str) -> Server:
    """Read one server, perhaps with a weight."""
    match = _SERVER.fullmatch(written)
    if match is None:
        raise ValueError(NOT_A_NEXT_HOP)
    scheme, place, weight = match[1], match[2], int(match[3] or 1)
    if not 1 <= weight <= MOST_WEIGHT:
        raise ValueError(f"{weight} is not a weight from 1 to {MOST_WEIGHT}")
    if place.startswith("/"):
        if scheme != "lmtp" or not place.strip("/"):
            raise ValueError("only lmtp:// has a Unix socket, by its path")
        return Server("lmtp", "", 0, Path(place), weight)
    found = endpoint.to_connect(place.rstrip("/"), _PORTS[scheme])
    return Server(cast("Scheme", scheme), _host(found.host), found.port, None, weight)


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


NEXT_HOP_FORM: Final = Form(
    "smtp://host:port, smtps://host:port, lmtp://host:port, lmtp:///path/of/socket, a list of these, mx, maildir:PATH or discard:",
    notation.show,
    below,
)
NextHopValue = Annotated[NextHop, PlainValidator(parse_next_hop), NEXT_HOP_FORM]
OptionalNextHop = Annotated[NextHop | None, PlainValidator(values.optional(parse_next_hop)), NEXT_HOP_FORM]
