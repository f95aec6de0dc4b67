"""A backend without accounts: passwords by name, for the mechanisms PLAIN, LOGIN and X, and with its whims.

X asks for the name, then for the password; each is the response. A name decides what becomes of it: `slow` is answered after `seconds`,
`busy`, `away`, `refused` fail so, `raises` raises, `hangs` is never answered; `local` may not relay.
"""

from __future__ import annotations

import asyncio

from mailmoat.auth.authenticator import Cause, Challenge, Failure, Identity, Success

CAUSES = {"busy": Cause.BUSY, "away": Cause.UNAVAILABLE, "refused": Cause.REFUSED}


class FakeAuthenticator:
    """Offers PLAIN, LOGIN and X under TLS, or in clear as well; every password is `secret`."""

    def __init__(self, *, in_clear=True, seconds=0.5):
        self.in_clear = in_clear
        self.seconds = seconds
        self.channels = []
        self.asked = []

    def mechanisms(self, channel):
        self.channels.append(channel)
        return ("X", "PLAIN", "LOGIN") if channel.secured or self.in_clear else ()

    def begin(self, mechanism, channel):
        self.channels.append(channel)
        return FakeExchange(self, mechanism)


class FakeExchange:
    def __init__(self, backend, mechanism):
        self._backend = backend
        self._mechanism = mechanism
        self._said = []

    def respond(self, response):
        if self._mechanism == "PLAIN":
            return Challenge(b"") if response is None else self._plain(response)
        if response is not None:
            self._said.append(response.decode())
        if len(self._said) < 2:
            return Challenge((b"Username:", b"Password:")[len(self._said)])
        return self._check(*self._said)

    def _plain(self, response):
        parts = response.decode().split("\0")
        return self._check(*parts[1:]) if len(parts) == 3 else Failure(Cause.MALFORMED)

    def _check(self, name, password):
        self._backend.asked.append(name)
        if name == "raises":
            raise RuntimeError(password)
        if name == "hangs":
            return self._never()
        if name in CAUSES:
            return Failure(CAUSES[name], name)
        if name == "slow":
            return self._later(name, password)
        return self._judge(name, password)

    def _judge(self, name, password):
        if password != "secret":
            return Failure(Cause.CREDENTIALS, name)
        return Success(Identity(name, self._mechanism, may_relay=name != "local"))

    async def _never(self):
        return await asyncio.get_running_loop().create_future()

    async def _later(self, name, password):
        loop = asyncio.get_running_loop()
        passed = loop.create_future()
        loop.call_later(self._backend.seconds, lambda: passed.done() or passed.set_result(None))
        await passed
        return self._judge(name, password)
