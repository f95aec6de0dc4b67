"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the side of the server (RFC 5802, RFC 7677), with both channel bindings of today.

A value machine: messages in, answers out; it reads no file and waits for nothing. `tls-exporter` (RFC 9266) and
`tls-server-end-point` (RFC 5929 4) are known, `tls-unique` is not: TLS 1.3 does not have it, and before it was broken. A name that does
not exist, or has no keys, gets a challenge like any other and fails at the end. The server's signature goes out as a challenge, the client
answers with nothing, and then it is authenticated (RFC 4954 4).
"""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Protocol

from mailmoat.auth.authenticator import Cause, Challenge, Failure, Identity, Success
from mailmoat.auth.mechanism import Mechanism
from mailmoat.auth.passwords import same_account

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mailmoat.auth.authenticator import Answer, Channel
    from mailmoat.auth.passwords import Verified
    from mailmoat.auth.verifiers import ScramKeys

_EXTENSIONS: Final = r"(?:,(?![mp]=)[A-Za-z]=[^,\0]+)*"
"""Unknown ones are ignored, `m` must fail (RFC 5802 5.1)."""
_BASE64: Final = r"[A-Za-z0-9+/]+={0,2}"
_FIRST: Final = re.compile(
    rf"(?P<header>(?:(?P<flag>[ny])|p=(?P<binding>[A-Za-z0-9.-]+)),(?:a=(?P<acts_as>[^,\0]+))?,)"
    rf"(?P<bare>n=(?P<name>[^,\0]+),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+){_EXTENSIONS})"
)
_FINAL: Final = re.compile(
    rf"(?P<bare>c=(?P<binding>{_BASE64}),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+){_EXTENSIONS}),p=(?P<proof>{_BASE64})"
)
_ESCAPED: Final = re.compile(r"=(2C|3D)?")


class ScramSource(Protocol):
    """Where the keys of accounts come from."""

    def scram_keys(self, name: str) -> tuple[Verified | None, ScramKeys] | None:
        """Return who proves to have these keys of this name; None with keys of nobody that look like others; None without accounts.

        ValueError for a text that can be no name.
        """


@dataclass(frozen=True, slots=True)
class _Begun:
    """What is known after the client's first message."""

    name: str
    acts_as: str
    account: Verified | None
    keys: ScramKeys
    nonce: str
    binding: str = field(repr=False)
    """What the client has to send as its channel binding, in base64."""
    messages: str = field(repr=False)
    """The first messages of both sides, each with a comma behind."""


def bindings(channel: Channel) -> dict[str, bytes]:
    """Return the channel bindings that this channel has, by name."""
    known = {"tls-exporter": channel.exporter, "tls-server-end-point": channel.end_point}
    return {name: octets for name, octets in known.items() if octets}


class ScramExchange:
    """One exchange. `bound` are the channel bindings to choose from with -PLUS; `plus`: this is -PLUS."""

    def __init__(self, source: ScramSource, bound: Mapping[str, bytes], *, plus: bool) -> None:
        self._source = source
        self._bound = bound
        self._plus = plus
        self._begun: _Begun | None = None
        self._proven: Success | Failure | None = None

    def respond(self, response: bytes | None) -> Answer:
        """Take what the client said; None at the beginning when it said nothing yet."""
        if response is None:
            return Challenge(b"")
        if self._proven is not None:
            return self._proven if not response else Failure(Cause.MALFORMED)
        try:
            text = response.decode()
            return self._first(text) if self._begun is None else self._final(text, self._begun)
        except ValueError:
            return Failure(Cause.MALFORMED, self._begun.name if self._begun else "")

    def _first(self, text: str) -> Answer:
        match = _FIRST.fullmatch(text)
        if match is None:
            return Failure(Cause.MALFORMED)
        name = _unescaped(match["name"])
        if not self._allows(match["flag"], match["binding"]):
            return Failure(Cause.CHANNEL, name)
        found = self._source.scram_keys(name)
        if found is None:
            return Failure(Cause.UNAVAILABLE, name)
        account, keys = found
        nonce = match["nonce"] + secrets.token_urlsafe(18)
        challenge = f"r={nonce},s={_base64(keys.salt)},i={keys.cost.iterations}"
        self._begun = _Begun(
            name=name,
            acts_as=_unescaped(match["acts_as"] or ""),
            account=account,
            keys=keys,
            nonce=nonce,
            binding=_base64(match["header"].encode() + self._bound.get(match["binding"] or "", b"")),
            messages=f"{match['bare']},{challenge},",
        )
        return Challenge(challenge.encode())

    def _allows(self, flag: str | None, binding: str | None) -> bool:
        """Return whether the client chose the channel binding that it could have (RFC 5802 6).

        `y` means that it was not offered one: if it was, somebody between has removed it from the list.
        """
        if self._plus:
            return binding in self._bound
        return flag == "n" or (flag == "y" and not self._bound)

    def _final(self, text: str, begun: _Begun) -> Answer:
        match = _FINAL.fullmatch(text)
        if match is None or match["nonce"] != begun.nonce:
            return Failure(Cause.MALFORMED, begun.name)
        if match["binding"] != begun.binding:
            return Failure(Cause.CHANNEL, begun.name)
        message = (begun.messages + match["bare"]).encode()
        account = begun.account
        if not _proves(begun.keys, message, match["proof"]) or account is None:
            return Failure(Cause.CREDENTIALS, begun.name)
        if begun.acts_as and not same_account(begun.acts_as, account.name):
            return Failure(Cause.REFUSED, begun.name)
        mechanism = Mechanism.SCRAM_SHA_256_PLUS if self._plus else Mechanism.SCRAM_SHA_256
        self._proven = Success(Identity(account.name, mechanism, account.may_relay))
        return Challenge(b"v=" + _base64(hmac.digest(begun.keys.server_key, message, "sha256")).encode())


def _proves(keys: ScramKeys, message: bytes, proof: str) -> bool:
    """Return whether the client has the key that the stored one was made of (RFC 5802 3); ValueError for a proof of another length."""
    signature = hmac.digest(keys.stored_key, message, "sha256")
    client_key = bytes(one ^ other for one, other in zip(signature, _octets(proof), strict=True))
    return hmac.compare_digest(sha256(client_key).digest(), keys.stored_key)


def _unescaped(written: str) -> str:
    """Return a saslname as it is meant (RFC 5802 7); ValueError for `=` before anything but 2C and 3D."""
    if any(match[1] is None for match in _ESCAPED.finditer(written)):
        raise ValueError("= is not escaped")
    return written.replace("=2C", ",").replace("=3D", "=")


def _base64(octets: bytes) -> str:
    return b64encode(octets).decode()


def _octets(written: str) -> bytes:
    return b64decode(written, validate=True)
