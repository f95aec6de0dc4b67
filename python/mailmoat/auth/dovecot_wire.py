"""The lines of Dovecot's authentication protocol 1.2, the side of the client (Dovecot's documentation, "Auth Protocol").

Pure. A line that breaks the protocol is a ValueError. Values are escaped by an octet 1; a response of a client is base64, so nothing that
it sends can end a line or add a parameter.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mailmoat.auth.mechanism import Mechanism

if TYPE_CHECKING:
    from mailmoat.auth.authenticator import Channel

LONGEST_LINE: Final = 64 << 10
"""Octets. Dovecot's own bound is 16 KiB; an answer may repeat a name twice."""
LONGEST_REQUEST: Final = 16 << 10
"""Octets. Dovecot closes the connection, with all that wait, for a longer line."""
LONGEST_NAME: Final = 255
MAJOR: Final = "1"
MINOR: Final = 2
"""From 3 on Dovecot offers mechanisms with channel binding, which it would have to ask for."""

_UNFIT: Final = frozenset({"anonymous", "private", "channel-binding"})
"""Parameters of mechanisms that authenticate nobody, or that a client cannot use here."""
_OTHERS: Final = frozenset({"ANONYMOUS", "EXTERNAL"})
_NAME: Final = re.compile(r"[A-Z0-9_-]{1,20}")
_ESCAPES: Final = {"0": "\0", "1": "\x01", "t": "\t", "r": "\r", "l": "\n", "n": "\n"}
_ESCAPED: Final = re.compile("\x01(.)", re.DOTALL)
_LAST: Final = (Mechanism.OAUTHBEARER, Mechanism.XOAUTH2, Mechanism.PLAIN, Mechanism.LOGIN)
"""What shows a secret is offered after what does not."""


@dataclass(frozen=True, slots=True)
class Continued:
    """The client is to answer this."""

    challenge: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The credentials are right. `denied`: and yet this account may not be used here."""

    name: str
    denied: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The credentials are not right, or Dovecot cannot say; `code` is its reason, or empty."""

    name: str
    code: str


Reply = Continued | Accepted | Refused


def opening(pid: int) -> bytes:
    """Return what a client says first."""
    return f"VERSION\t{MAJOR}\t{MINOR}\nCPID\t{pid}\n".encode()


def auth(number: int, mechanism: str, channel: Channel, response: bytes | None) -> bytes:
    """Return the request that begins an exchange. `nologin`: no other process will ask for it."""
    words = ["AUTH", str(number), mechanism, "service=smtp", "nologin"]
    words += ["secured=tls"] * channel.secured
    words += [f"{name}={address}" for name, address in (("rip", channel.client), ("lip", channel.server)) if address]
    words += [] if response is None else [f"resp={b64encode(response).decode()}"]
    return "\t".join(words).encode() + b"\n"


def continuation(number: int, response: bytes) -> bytes:
    """Return the client's next response."""
    return f"CONT\t{number}\t{b64encode(response).decode()}\n".encode()


def cancel(number: int) -> bytes:
    """Return that an exchange goes on no more."""
    return f"CANCEL\t{number}\n".encode()


def words_of(line: bytes) -> list[str]:
    """Return the words of a line, as they are meant. A name that is not UTF-8, which Dovecot repeats, has U+FFFD in it."""
    words = line.decode(errors="replace").split("\t")
    return [_ESCAPED.sub(lambda match: _ESCAPES.get(match[1], match[1]), word) for word in words]


def is_version(words: list[str]) -> bool:
    """Say whether this line is the version, one that is understood here; ValueError for another version."""
    if words[0] != "VERSION":
        return False
    if words[1:2] != [MAJOR]:
        raise ValueError("another version of the protocol")
    return True


def mechanism_of(words: list[str]) -> str | None:
    """Return the mechanism that a line MECH announces; None for one that clients of ours cannot use."""
    name, parameters = words[1] if len(words) > 1 else "", set(words[2:])
    if not _NAME.fullmatch(name) or name in _OTHERS or parameters & _UNFIT:
        return None
    return name


def by_strength(names: list[str]) -> tuple[str, ...]:
    """Return the mechanisms, each once, the strongest first."""
    scram = sorted(name for name in set(names) if name.startswith("SCRAM"))[::-1]
    last = [name for name in _LAST if name in names]
    return (*scram, *sorted(set(names) - {*scram, *last}), *last)


def reply(words: list[str]) -> tuple[int, Reply]:
    """Return the number of the request that a line answers, and the answer; ValueError for a line that is none."""
    kind, number, *rest = words
    values = dict(word.partition("=")[::2] for word in rest)
    name = values.get("user", "")[:LONGEST_NAME]
    match kind:
        case "CONT":
            return int(number), Continued(b64decode(rest[0] if rest else "", validate=True))
        case "OK":
            return int(number), Accepted(name, denied=not values.keys().isdisjoint({"nologin", "proxy"}))
        case "FAIL":
            older = next((word for word in ("temp", "authz") if word in values), "")
            return int(number), Refused(name, values.get("code", "") or older)
    raise ValueError(f"{kind} is no answer")
