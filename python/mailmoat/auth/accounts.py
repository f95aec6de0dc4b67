"""The accounts of `auth.file`: one a line, with what is kept of its password and what it may do.

    # comment
    alice@example.com  $argon2id$v=19$m=19456,t=2,p=1$...  SCRAM-SHA-256$65536:...
    scanner            $argon2id$v=19$m=19456,t=2,p=1$...  no-relay
    former             SCRAM-SHA-256$65536:...            disabled

Pure: takes the octets of the file, and gives the accounts or each mistake with its line. No secret is in a mistake or a repr. A file
that is too large, or whose checks have so many different costs that they would show which names exist, is a mistake as well.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from mailmoat.auth import verifiers
from mailmoat.auth.prepare import account_key
from mailmoat.auth.verifiers import SALT_SIZE, Argon2Hash, ScramCost, ScramKeys
from mailmoat.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mailmoat.auth.verifiers import Cost, Verifier

LARGEST_FILE: Final = 16 << 20
"""Octets; some 60,000 accounts. A directory has more."""
LONGEST_NAME: Final = 255
"""Octets of a name in UTF-8. RFC 4616 2 has it as what must be accepted."""
MOST_COSTS: Final = 3
"""Different costs of a check. A failed check takes as long as one of each, or its time would say which names exist."""
MOST_MISTAKES: Final = 20
COMMENT: Final = "#"
NO_RELAY: Final = "no-relay"
DISABLED: Final = "disabled"

_USUAL_COST: Final = ScramCost()


@dataclass(frozen=True, slots=True)
class Account:
    """One who may authenticate."""

    name: str
    """As it is in the file."""
    argon2: Argon2Hash | None = field(default=None, repr=False)
    scram: ScramKeys | None = field(default=None, repr=False)
    may_relay: bool = True
    enabled: bool = True

    @property
    def verifier(self) -> Verifier | None:
        """What a password is checked against; a disabled account has nothing."""
        return (self.argon2 or self.scram) if self.enabled else None

    def line(self) -> str:
        """Return it as it is in the file, without the end of the line."""
        words = [self.name]
        words += [verifier.written() for verifier in (self.argon2, self.scram) if verifier is not None]
        words += [NO_RELAY] * (not self.may_relay) + [DISABLED] * (not self.enabled)
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Accounts:
    """All accounts of a file, by key (`account_key`)."""

    by_key: dict[str, Account] = field(default_factory=dict, repr=False)
    costs: tuple[Cost, ...] = ()
    """What checks cost, each once, the most usual first: a failed check spends all of them."""
    scram_cost: ScramCost = _USUAL_COST
    """That of most accounts."""
    salt_size: int = SALT_SIZE
    """That of most accounts, in octets."""

    @classmethod
    def of(cls, accounts: Iterable[Account]) -> Accounts:
        """Return the table of these accounts, whose keys are different."""
        by_key = {account_key(account.name): account for account in accounts}
        shapes = Counter((each.scram.cost, len(each.scram.salt)) for each in by_key.values() if each.scram is not None)
        (scram_cost, salt_size), _ = next(iter(shapes.most_common(1)), ((_USUAL_COST, SALT_SIZE), 0))
        costs = Counter(each.verifier.cost for each in by_key.values() if each.verifier is not None)
        usual_first = tuple(cost for cost, _ in costs.most_common())
        return cls(by_key, usual_first or (verifiers.Argon2Cost(),), scram_cost, salt_size)

    def find(self, name: str) -> Account | None:
        """Return the account of this name in any spelling; None if there is none."""
        try:
            return self.by_key.get(account_key(name))
        except ValueError:
            return None


def read(octets: bytes) -> Accounts:
    """Read a file of accounts; ConfigError has a sentence for each mistake, which begins with its line."""
    if len(octets) > LARGEST_FILE:
        raise ConfigError([f"the file is larger than {LARGEST_FILE >> 20} MiB; keep so many accounts in a directory"])
    found: dict[str, tuple[int, Account]] = {}
    mistakes: list[str] = []
    for number, line in enumerate(octets.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            account = read_line(line)
        except ValueError as error:
            mistakes.append(f"line {number}: {error}")
            continue
        if account is None:
            continue
        first, _ = found.setdefault(account_key(account.name), (number, account))
        if first != number:
            mistakes.append(f"line {number}: this account is on line {first} already; remove one of them")
    if mistakes:
        more = len(mistakes) - MOST_MISTAKES
        raise ConfigError(mistakes[:MOST_MISTAKES] + [f"{more} more mistakes"] * (more > 0))
    accounts = Accounts.of(account for _, account in found.values())
    if len(accounts.costs) > MOST_COSTS:
        problem = f"passwords are checked at {len(accounts.costs)} different costs: their time would show which accounts exist"
        raise ConfigError([f"{problem}; keep to {MOST_COSTS} (mailmoat user passwd makes a new hash)"])
    return accounts


def read_line(line: bytes) -> Account | None:
    """Read one line; None if it has no account. ValueError says what is wrong and how to fix it."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8; save the file as UTF-8") from None
    words = list(_words(text))
    if not words:
        return None
    name, *rest = words
    account_name(name)
    account = Account(name)
    for word in rest:
        account = _with(account, word)
    if account.argon2 is None and account.scram is None:
        raise ValueError("the account has no password; remove the line, and make the account by mailmoat user add")
    return account


def account_name(name: str) -> str:
    """Return a name that an account in a file can have; ValueError says why not."""
    try:
        account_key(name)
    except ValueError as error:
        raise ValueError(f"the name cannot be used: {error}") from None
    if name.startswith((COMMENT, "$", "{")) or any(each.isspace() for each in name):
        raise ValueError("a name has no spaces, and does not begin with #, $ or {")
    if len(name.encode()) > LONGEST_NAME:
        raise ValueError(f"a name has at most {LONGEST_NAME} octets")
    return name


def _words(text: str) -> Iterator[str]:
    for word in text.split():
        if word.startswith(COMMENT):
            return
        yield word


def _with(account: Account, word: str) -> Account:
    """Return the account with what one more word of its line says; ValueError for one that says nothing, or nothing new."""
    if word == NO_RELAY:
        changed = replace(account, may_relay=False)
    elif word == DISABLED:
        changed = replace(account, enabled=False)
    elif verifiers.is_verifier(word):
        verifier = verifiers.parse(word)
        if isinstance(verifier, Argon2Hash):
            doubled, changed = account.argon2 is not None, replace(account, argon2=verifier)
        else:
            doubled, changed = account.scram is not None, replace(account, scram=verifier)
        if doubled:
            raise ValueError("there are two verifiers of one kind; keep one of them")
    else:
        raise ValueError(
            f"a word after the name is not one of {NO_RELAY}, {DISABLED}, an Argon2id hash and a SCRAM-SHA-256 verifier; "
            "mailmoat user writes such lines"
        )
    if changed == account:
        raise ValueError(f"{word} is there twice; remove one")
    return changed
