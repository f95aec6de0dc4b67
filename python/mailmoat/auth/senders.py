"""The addresses that each account may send from: the file `auth.senders`.

A line is an account and its senders: `alice alice@example.com, sales@example.com`. A sender is an address, `@example.com` for all of
a domain, or `*` for any; `#` begins a comment. An account may have several lines. Whatever the file says, an account whose name is an
address has that one, and with an address come its subaddresses.

Pure but for `read_file`. A mistake is one sentence with its line; nothing is raised for what a client sends.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from mailmoat._native import Address
from mailmoat.auth.prepare import account_key
from mailmoat.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mailmoat._native import Normalisation

LARGEST_FILE: Final = 16 << 20
"""Octets."""
ANY: Final = "*"


class Senders:
    """Who may use which address; `normalisation` says which spellings are one."""

    def __init__(self, own: Mapping[str, frozenset[str]], normalisation: Normalisation) -> None:
        self._own = own
        self._normalisation = normalisation

    def may_use(self, account: str, sender: Address) -> bool:
        """Return whether an account, by its name, may send from an address."""
        try:
            own = self._own.get(account_key(account), frozenset())
        except ValueError:
            own = frozenset()
        key, user = self._normalisation.key, self._normalisation.without_detail(sender)
        keys = {ANY, f"@{sender.domain}", key(sender), key(sender if user is None else user)}
        return bool(keys & own) or _address_key(account, self._normalisation) in keys


def read_file(path: Path, normalisation: Normalisation) -> Senders:
    """Read a file of senders; ConfigError with a sentence for each mistake in it."""
    try:
        with path.open("rb") as file:
            octets = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError([f"it cannot be read: {error.strerror or error}"]) from None
    if len(octets) > LARGEST_FILE:
        raise ConfigError([f"it has more than {LARGEST_FILE} octets"])
    try:
        return read(octets.decode("utf-8-sig"), normalisation)
    except UnicodeDecodeError:
        raise ConfigError(["it is not UTF-8"]) from None


def read(text: str, normalisation: Normalisation) -> Senders:
    """Read the lines of such a file; ConfigError with a sentence for each mistake."""
    own: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
    mistakes = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            account = account_key(words[0])
            if not words[1:]:
                raise ValueError("there is no sender behind the account; write `account address`")  # noqa: TRY301 - as if it had raised
            own[account] |= {_sender(word, normalisation) for word in words[1:]}
        except ValueError as error:
            mistakes.append(f"line {number}: {error}")
    if mistakes:
        raise ConfigError(mistakes)
    return Senders(dict(own), normalisation)


def _sender(word: str, normalisation: Normalisation) -> str:
    if word == ANY:
        return ANY
    try:
        address = Address.parse(f"x{word}" if word.startswith("@") else word)
    except ValueError:
        address = None
    if address is None or not address.domain:
        raise ValueError(f"{word} is no sender; write an address, @domain, or *")
    return f"@{address.domain}" if word.startswith("@") else normalisation.key(address)


def _address_key(name: str, normalisation: Normalisation) -> str:
    """Return the key of a name that is an address; empty for any other."""
    try:
        address = Address.parse(name)
    except ValueError:
        return ""
    return normalisation.key(address) if address.domain else ""
