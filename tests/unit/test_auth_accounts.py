"""The file of accounts: what a line says, what is wrong with one, and what is kept of a password."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmoat.auth import accounts, verifiers
from mailmoat.auth.accounts import Account, Accounts, read, read_line
from mailmoat.auth.verifiers import Argon2Cost, Argon2Hash, ScramCost, ScramKeys, parse
from mailmoat.errors import ConfigError

QUICK = Argon2Cost(memory=8, passes=1)
ARGON2 = Argon2Hash(QUICK, b"s" * 16, QUICK.hash(b"secret", b"s" * 16))
SCRAM = ScramKeys.make(b"secret", b"s" * 16, ScramCost(4096))
RFC_7677 = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text.encode())
    return caught.value.mistakes


def test_lines():
    text = f"# us\n\nalice@a.test {ARGON2.written()} {SCRAM.written()}\n\tBob {SCRAM.written()} no-relay # he left\nc {ARGON2.written()} disabled\r\n"
    found = read(b"\xef\xbb\xbf" + text.encode())
    assert list(found.by_key) == ["alice@a.test", "bob", "c"]
    alice, bob, carol = found.by_key.values()
    assert (alice.argon2, alice.scram, alice.may_relay, alice.enabled) == (ARGON2, SCRAM, True, True)
    assert (bob.name, bob.argon2, bob.may_relay, bob.verifier) == ("Bob", None, False, SCRAM)
    assert (carol.enabled, carol.verifier) == (False, None)
    assert found.find("BOB") == bob
    assert found.find("b\x00b") is None
    assert found.costs == (QUICK, ScramCost(4096))
    assert read(b"").costs == (Argon2Cost(),)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("alice", "the account has no password; remove the line, and make the account by mailmoat user add"),
        ("alice secret", "a word after the name is not one of no-relay, disabled"),
        ("alice no-relay no-relay " + ARGON2.written(), "no-relay is there twice"),
        (f"alice {ARGON2.written()} {ARGON2.written()}", "two verifiers of one kind"),
        ("alice $argon2id$v=19$m=8,t=1,p=1$c3NzcwAA", "not a whole Argon2id hash"),
        ("alice $argon2i$v=19$m=8,t=1,p=1$c3Nzc3Nzc3Nzc3Nzc3Nzcw$c3Nzc3Nzc3Nzc3Nzc3Nzcw", "not a whole Argon2id hash"),
        (ARGON2.written().replace("m=8", "m=9999999").join(("alice ", "")), "costs too much"),
        (ARGON2.written().replace("t=1", "t=99").join(("alice ", "")), "costs too much"),
        (f"alice {SCRAM.written().replace('4096', '4095')}", "iterations of SCRAM"),
        (f"alice {SCRAM.written().replace('4096', '9999999')}", "iterations of SCRAM"),
        ("alice SCRAM-SHA-256$4096:AAAA$AAAA:AAAA", "wrong length"),
        ("alice SCRAM-SHA-256$4096:A$A:A", "base64 in this verifier is damaged"),
        (f"{ARGON2.written()} alice", "does not begin with #, $ or {"),
        ("al\x01ice " + ARGON2.written(), "the name cannot be used"),
        ("a" * 256 + " " + ARGON2.written(), "at most 255 octets"),
    ],
)
def test_mistakes(line, wrong):
    (found,) = mistakes(f"# one\n{line}\n")
    assert found.startswith("line 2: ")
    assert wrong in found
    assert "secret" not in found
    assert "c3Nz" not in found


def test_a_name_is_there_once_in_any_spelling():
    assert mistakes(f"Alice {ARGON2.written()}\nbob {ARGON2.written()}\naLICE {SCRAM.written()}\n") == [
        "line 3: this account is on line 1 already; remove one of them"
    ]


def test_what_is_wrong_with_a_whole_file():
    assert mistakes("x\n" * 30)[20:] == ["10 more mistakes"]
    with pytest.raises(ConfigError, match="not UTF-8"):
        read(b"\xff\xfea\n")
    with pytest.raises(ConfigError, match="larger than 16 MiB"):
        read(b"#" * (accounts.LARGEST_FILE + 1))
    many = "".join(
        f"a{passes} {Argon2Hash(Argon2Cost(8, passes), b's' * 16, b'h' * 32).written()}\n" for passes in range(1, 5)
    )
    assert "4 different costs" in mistakes(many)[0]


def test_no_secret_is_in_a_repr():
    account = Account("alice", ARGON2, SCRAM)
    table = Accounts.of([account])
    for value in (account, ARGON2, SCRAM, table):
        assert "s" * 4 not in repr(value)
        assert "\\x" not in repr(value)


def test_the_keys_of_rfc_7677():
    keys = parse(RFC_7677)
    assert isinstance(keys, ScramKeys)
    assert keys == ScramKeys.make(b"pencil", keys.salt, ScramCost(4096))
    assert keys.written() == RFC_7677
    assert keys.matches(b"pencil")
    assert not keys.matches(b"Pencil")


@pytest.mark.parametrize(
    "written",
    [
        "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$Ezw0kIogUXUbhljhd0Q0rg$5eqz97aJ0PFHQaH+iJNB3444GfYnfzXOlcLrWzIYSzI",
        "{SCRAM-SHA-256}4096,QU45w2JaYbUiwlORUOSQLw==,GuyjiZ3j6ZSWx6ynNARoQNkURFH0Gr46HMmeqXusYUQ=,gNJGZ7y4zLXqKmR0POHkJlpNBHaQO1kZn0EjYG9TbLM=",
    ],
)
def test_what_doveadm_pw_prints_is_read(written):
    """Of Dovecot 2.3.19, for the password `secret`."""
    (account,) = read(f"alice {written}\n".encode()).by_key.values()
    assert account.verifier.matches(b"secret")
    assert not account.verifier.matches(b"Secret")


def test_what_dovecot_writes_is_read():
    keys = parse(RFC_7677)
    dovecot = "{SCRAM-SHA-256}" + RFC_7677.removeprefix("SCRAM-SHA-256$").replace("$", ",").replace(":", ",")
    assert parse(dovecot) == keys
    assert parse("{ARGON2ID}" + ARGON2.written()) == ARGON2


def test_a_hash_that_is_made_has_owasps_parameters():
    made = Argon2Hash.make(b"secret")
    assert made.written().startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert parse(made.written()) == made
    assert made.matches(b"secret")
    assert not made.matches(b"secret ")
    assert Argon2Hash.make(b"secret").salt != made.salt
    assert ScramKeys.make(b"secret").cost.iterations == 65_536


def test_a_check_without_memory_is_not_a_wrong_password(monkeypatch):
    def no_memory(*_):
        raise verifiers.HashingError

    monkeypatch.setattr(verifiers, "hash_secret_raw", no_memory)
    with pytest.raises(MemoryError):
        ARGON2.matches(b"secret")


NAMES = st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=20)


@given(NAMES, st.booleans(), st.booleans(), st.sampled_from([(ARGON2, None), (None, SCRAM), (ARGON2, SCRAM)]))
def test_a_line_is_read_as_it_was_written(name, may_relay, enabled, kept):
    try:
        accounts.account_name(name)
    except ValueError:
        return
    account = Account(name, *kept, may_relay=may_relay, enabled=enabled)
    assert read_line(account.line().encode()) == account


@given(st.binary(max_size=200) | st.text(alphabet="ab$#{}:,= \n-", max_size=80).map(str.encode))
def test_no_octets_break_it(octets):
    with suppress(ConfigError):
        assert read(octets).costs
