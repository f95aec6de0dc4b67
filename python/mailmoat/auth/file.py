"""The file of accounts as a backend: PLAIN, LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, over TLS only.

An unknown name, a wrong password and a disabled account have one answer and take one time: whatever fails spends each of the costs
that checks of this file have, once. Guesses wait in a bounded queue beside the loop; whose password was right a short while ago does not
wait with them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from mailmoat.auth import account_file
from mailmoat.auth.accounts import Account
from mailmoat.auth.authenticator import Cause
from mailmoat.auth.decoys import Decoys
from mailmoat.auth.hashing import HashingThread
from mailmoat.auth.mechanism import Mechanism
from mailmoat.auth.password_cache import PasswordCache
from mailmoat.auth.passwords import Verified
from mailmoat.auth.plain import LoginExchange, PlainExchange
from mailmoat.auth.prepare import account_key
from mailmoat.auth.scram import ScramExchange, bindings

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable
    from pathlib import Path

    from mailmoat.auth.authenticator import Channel, Exchange
    from mailmoat.auth.verifiers import Cost, ScramKeys, Verifier
    from mailmoat.settings.sections.auth import AuthSettings

MECHANISMS: Final = (Mechanism.SCRAM_SHA_256_PLUS, Mechanism.SCRAM_SHA_256, Mechanism.PLAIN, Mechanism.LOGIN)
"""The strongest first."""
_NOBODY: Final = Account("")


class FileAuthenticator:
    """Accounts from a file; `secret` is a file that this server keeps (`decoys`)."""

    def __init__(self, file: Path, secret: Path, settings: AuthSettings) -> None:
        self._cache = PasswordCache(settings.cache_time)
        self._file = account_file.watch(file, self._cache.clear)
        self._decoys = Decoys(secret)
        self._hashing = HashingThread(settings.hashing_queue)
        self._may_relay = settings.relay
        self._allowed = tuple(name for name in MECHANISMS if name in (settings.mechanisms or MECHANISMS))

    @property
    def usable(self) -> bool:
        """Whether there are accounts in force."""
        return self._file.value is not None

    def mechanisms(self, channel: Channel) -> tuple[str, ...]:
        """Return the mechanisms to offer on this channel, the strongest first."""
        if not channel.secured:
            return ()
        bound = bool(bindings(channel))
        return tuple(name for name in self._allowed if bound or name is not Mechanism.SCRAM_SHA_256_PLUS)

    def begin(self, mechanism: str, channel: Channel) -> Exchange | None:
        """Begin an exchange; None for a mechanism that is not offered on this channel."""
        offered = self.mechanisms(channel)
        if mechanism not in offered:
            return None
        if mechanism == Mechanism.PLAIN:
            return PlainExchange(self)
        if mechanism == Mechanism.LOGIN:
            return LoginExchange(self)
        bound = bindings(channel) if Mechanism.SCRAM_SHA_256_PLUS in offered else {}
        return ScramExchange(self, bound, plus=mechanism == Mechanism.SCRAM_SHA_256_PLUS)

    async def check(self, name: str, password: str) -> Verified | Cause:
        """Return whose password this is, or why it is nobody's."""
        accounts, octets = self._file.value, password.encode()
        if accounts is None:
            return Cause.UNAVAILABLE
        account = accounts.find(name)
        verifier = account.verifier if account else None
        known = self._cache.holds(account if verifier else None, octets)
        if account is not None and known:
            return self._verified(account)
        checked = self._hashing.run(partial(_matches, verifier, octets, accounts.costs))
        if checked is None:
            return Cause.BUSY
        try:
            right = await checked
        except MemoryError:
            return Cause.UNAVAILABLE
        if account is None or not right:
            return Cause.CREDENTIALS
        self._cache.add(account, octets)
        return self._verified(account)

    def scram_keys(self, name: str) -> tuple[Verified | None, ScramKeys] | None:
        """Return who has these keys, or None with a decoy; None without accounts. ValueError for what is no name."""
        key, accounts = account_key(name), self._file.value
        if accounts is None:
            return None
        account, decoy = accounts.by_key.get(key, _NOBODY), self._decoys.keys(key, accounts)
        owner = self._verified(account)  # made in any case: it takes as long as half a look-up
        if account.scram is None or not account.enabled:
            return None, decoy
        return owner, account.scram

    async def start(self) -> None:
        """Do nothing: the file has been read."""

    def tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look for a changed file; to be called once a second."""
        self._file.refresh(loop)

    async def reread(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read the file at once."""
        await self._file.read_now(loop)

    def close(self) -> None:
        """End without waiting for anything."""
        self._hashing.close()

    def _verified(self, account: Account) -> Verified:
        return Verified(account.name, may_relay=account.may_relay and self._may_relay)


def _matches(verifier: Verifier | None, password: bytes, costs: Iterable[Cost]) -> bool:
    """Return whether the password is right; if not, after each of the costs, always in this order."""
    for cost in costs:
        if verifier is None or cost != verifier.cost:
            cost.spend(password)
        elif verifier.matches(password):
            return True
    return False
