"""What a stranger can send to an exchange, and a service to us: never an exception, nobody gets in, a bounded memory.

`FUZZ_SECONDS` (set by `make fuzz`) makes it go on for so long; the ordinary run tries a few hundred messages.
"""

import asyncio
import os
import random
import time
from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailmoat.auth import accounts, dovecot_wire
from mailmoat.auth.authenticator import Cause, Challenge, Failure
from mailmoat.auth.passwords import Verified
from mailmoat.auth.plain import LoginExchange, PlainExchange
from mailmoat.auth.prepare import account_key
from mailmoat.auth.scram import ScramExchange
from mailmoat.auth.verifiers import ScramCost, ScramKeys
from mailmoat.errors import ConfigError

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
KEYS = ScramKeys.make(b"pencil", b"s" * 16, ScramCost(4096))
BOUND = {"tls-exporter": b"e" * 32, "tls-server-end-point": b"p" * 32}
SEEDS = [
    b"\0user\0pencil",
    b"user\0user\0pencil",
    b"user",
    b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
    b"y,a=user,n=us=2Cer,r=x,x=1",
    b"p=tls-exporter,,n=user,r=x",
    b"c=biws,r=x,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "\0j\u00fcrgen\0\u2168\u00ad".encode(),
    b"OK\t1\tuser=a\tnologin",
    b"FAIL\t1\tuser=a\tcode=temp_fail",
    b"CONT\t1\tVXNlcm5hbWU6",
    b"user $argon2id$v=19$m=19456,t=2,p=1$c3Nzc3Nzc3Nzc3Nzc3Nzcw$c3Nzc3Nzc3Nzc3Nzc3Nzcw no-relay",
    f"user {KEYS.written()} disabled".encode(),
]


class NobodyGetsIn:
    """Has the account `user`, whose password is never right."""

    async def check(self, name, password):
        assert name
        assert password
        return Cause.CREDENTIALS

    def scram_keys(self, name):
        return (Verified("user", may_relay=True) if account_key(name) == "user" else None), KEYS


def check(messages):
    for exchange in (
        PlainExchange(NobodyGetsIn()),
        LoginExchange(NobodyGetsIn()),
        ScramExchange(NobodyGetsIn(), {}, plus=False),
        ScramExchange(NobodyGetsIn(), BOUND, plus=False),
        ScramExchange(NobodyGetsIn(), BOUND, plus=True),
    ):
        for message in messages:
            answer = exchange.respond(message)
            answer = answer if isinstance(answer, Challenge | Failure) else asyncio.run(answer)
            assert isinstance(answer, Challenge | Failure)
            if isinstance(answer, Failure):
                break
            assert len(answer.octets) < 2 * sum(map(len, messages)) + 200
    for message in messages:
        with suppress(ValueError):
            dovecot_wire.reply(dovecot_wire.words_of(message))
        with suppress(ConfigError):
            assert accounts.read(message).costs


@given(st.lists(st.one_of(st.binary(max_size=300), st.sampled_from(SEEDS)), min_size=1, max_size=4))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_octets(messages):
    check(messages)


def test_changed_messages():
    chance = random.Random(954)
    until = time.monotonic() + SECONDS
    rounds = 0
    while rounds < 500 or time.monotonic() < until:
        rounds += 1
        messages = []
        for _ in range(chance.randint(1, 4)):
            message = bytearray(chance.choice(SEEDS))
            for _ in range(chance.randint(0, 4)):
                at = chance.randrange(len(message) + 1)
                match chance.randrange(3):
                    case 0:
                        message[at:at] = bytes([chance.choice(b"\0\t\n,=\xff\x01 a")]) * chance.choice([1, 1, 300])
                    case 1:
                        del message[at : at + chance.randint(1, 20)]
                    case 2:
                        message[at : at + 1] = chance.choice(SEEDS)[: chance.randint(0, 40)]
            messages.append(bytes(message))
        check(messages)
