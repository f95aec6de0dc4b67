"""`mailmoat user`: the accounts of `auth.file`, and whether a password is right.

A password is asked for twice, or read from standard input; it is never an argument, which all of a machine can see. `verify` asks the
backend as the server does, Dovecot as well; the others change our own file.
"""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, complain, fail, plain, print_json, settings_in_force
from mailmoat.cli.passwords import given_password, new_password

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mailmoat.auth.accounts import Account, Accounts
    from mailmoat.auth.authenticator import Answer
    from mailmoat.settings import Settings

V = TypeVar("V")

app = typer.Typer(help="Change and list the accounts of clients that authenticate.", no_args_is_help=True)


def _names(context: typer.Context, incomplete: str) -> list[str]:
    """Return the accounts whose names begin so; none if the file cannot be read."""
    from contextlib import suppress

    from mailmoat.auth.account_file import read_file
    from mailmoat.errors import ConfigError
    from mailmoat.settings import load

    with suppress(ConfigError):
        file = load(context.params.get("config")).auth.file
        if file is not None:
            found = read_file(file).by_key.values()
            return sorted(account.name for account in found if account.name.startswith(incomplete))
    return []


NewName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the account, such as alice@example.com.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the account.", autocompletion=_names)]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from the first line of standard input.")
]
ScramOnly = Annotated[
    bool, typer.Option("--scram-only", help="Keep the keys of SCRAM-SHA-256 alone, without an Argon2id hash.")
]


@app.callback()
def group() -> None:
    """Change and list the accounts of clients that authenticate."""


@app.command("add")
def add(
    name: NewName,
    config: ConfigOption = None,
    *,
    relay: Annotated[
        bool, typer.Option("--relay/--no-relay", help="Whether the account may send to any domain.")
    ] = True,
    scram_only: ScramOnly = False,
    password_stdin: FromStdin = False,
    as_json: JsonOption = False,
) -> None:
    """Add an account to auth.file, which is made if it is not there."""
    from mailmoat.auth import account_edit
    from mailmoat.auth.accounts import Account, account_name

    settings = settings_in_force(config)
    file = _file(settings)
    _attempt(file, lambda: account_name(name))
    account = _with_password(
        Account(name, may_relay=relay), new_password(name, stdin=password_stdin), scram_only=scram_only
    )
    made = _attempt(file, lambda: account_edit.add(file, account))
    if made:
        _let_read(file, settings)
    _say(account, "added", as_json=as_json)


@app.command("remove")
def remove(name: Name, config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Remove an account."""
    from mailmoat.auth import account_edit

    file = _file(settings_in_force(config))
    _attempt(file, lambda: account_edit.remove(file, name))
    print_json({"name": name, "done": "removed"}) if as_json else typer.echo(f"{name}: removed")


@app.command("passwd")
def passwd(
    name: Name,
    config: ConfigOption = None,
    *,
    scram_only: ScramOnly = False,
    password_stdin: FromStdin = False,
    as_json: JsonOption = False,
) -> None:
    """Set another password."""
    from mailmoat.auth import account_edit

    file = _file(settings_in_force(config))
    if _read(file).find(name) is None:
        fail(f"there is no account {name}")
    password = new_password(name, stdin=password_stdin)

    def change(there: Account) -> Account:
        return _with_password(there, password, scram_only=scram_only)

    _say(_attempt(file, lambda: account_edit.replace(file, name, change)), "password set", as_json=as_json)


@app.command("set")
def set_(
    name: Name,
    config: ConfigOption = None,
    *,
    relay: Annotated[
        bool | None, typer.Option("--relay/--no-relay", help="Whether the account may send to any domain.")
    ] = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether the account may authenticate at all.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Change what an account may do."""
    from dataclasses import replace

    from mailmoat.auth import account_edit

    if relay is None and enabled is None:
        raise typer.BadParameter("name what to change", param_hint="--relay, --no-relay, --enable, --disable")
    file = _file(settings_in_force(config))

    def change(there: Account) -> Account:
        may_relay = there.may_relay if relay is None else relay
        return replace(there, may_relay=may_relay, enabled=there.enabled if enabled is None else enabled)

    _say(_attempt(file, lambda: account_edit.replace(file, name, change)), "changed", as_json=as_json)


@app.command("list")
def list_(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Print the accounts: what is kept of the password, and what is off."""
    found = _read(_file(settings_in_force(config))).by_key.values()
    if as_json:
        print_json([_document(account) for account in found])
        return
    for account in found:
        off = ["no-relay"] * (not account.may_relay) + ["disabled"] * (not account.enabled)
        typer.echo(f"{account.name}: {', '.join([*_kept(account), *off])}")


@app.command("verify")
def verify(
    name: Name, config: ConfigOption = None, *, password_stdin: FromStdin = False, as_json: JsonOption = False
) -> None:
    """Say whether a password is right, as the server would: exit 0 if it is, 1 if not."""
    import asyncio

    from mailmoat.auth.authenticator import Cause, Failure, Success

    settings = settings_in_force(config)
    if settings.auth.file is not None:
        _read(settings.auth.file)  # its mistakes, where the answer would be that nobody can be authenticated
    answer = asyncio.run(_answer(settings, name, given_password(name, stdin=password_stdin)))
    right = isinstance(answer, Success)
    outcome = answer.cause.value if isinstance(answer, Failure) else "right"
    if as_json:
        print_json({"name": name, "right": right, "outcome": outcome})
    else:
        typer.echo(f"{name}: {'the password is right' if right else f'not authenticated ({outcome})'}")
    if outcome == Cause.UNAVAILABLE and settings.auth.dovecot is not None:
        fail(
            f"auth.dovecot = {settings.auth.dovecot}: no answer; Dovecot has to run, and to let this account use the socket"
        )
    if not right:
        raise typer.Exit(1)


def _file(settings: Settings) -> Path:
    if settings.auth.file is None:
        elsewhere = "the accounts are Dovecot's (auth.dovecot): change them there"
        fail(elsewhere if settings.auth.dovecot else "auth.file is not set: name the file of accounts in the settings")
    return settings.auth.file


def _read(file: Path) -> Accounts:
    from mailmoat.auth.account_file import read_file
    from mailmoat.errors import ConfigError

    try:
        return read_file(file)
    except ConfigError as error:
        complain(ConfigError([f"auth.file: {file}: {mistake}" for mistake in error.mistakes]))


def _attempt(file: Path, change: Callable[[], V]) -> V:
    """Return what a change of the file gives; end with status 1 and the reason where it cannot be made."""
    from mailmoat.errors import ConfigError

    try:
        return change()
    except ConfigError as error:
        complain(ConfigError([f"auth.file: {file}: {mistake}" for mistake in error.mistakes]))
    except ValueError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{file} cannot be changed: {plain(error)}")


def _let_read(file: Path, settings: Settings) -> None:
    """Let the account of the server read a file that root has made."""
    import os
    import pwd

    if os.geteuid() == 0 and settings.user is not None:
        try:
            group = pwd.getpwnam(settings.user).pw_gid
        except KeyError:
            fail(f"{file} is made, but user = {settings.user} does not exist: create it and let it read the file")
        os.chown(file, -1, group)
        file.chmod(0o640)


def _with_password(account: Account, password: bytes, *, scram_only: bool) -> Account:
    from dataclasses import replace

    from mailmoat.auth.verifiers import Argon2Hash, ScramKeys

    return replace(account, argon2=None if scram_only else Argon2Hash.make(password), scram=ScramKeys.make(password))


async def _answer(settings: Settings, name: str, password: str) -> Answer:
    """Return what the backend of the server answers to PLAIN, whichever mechanisms the server offers."""
    from mailmoat.auth.authenticator import Cause, Channel, Failure
    from mailmoat.auth.composition import open_backend

    any_mechanism = settings.auth.model_copy(update={"mechanisms": ()})
    backend = open_backend(settings.model_copy(update={"auth": any_mechanism}))
    if backend is None:
        fail("there are no accounts: neither auth.file nor auth.dovecot is set")
    await backend.start()
    try:
        exchange = backend.begin("PLAIN", Channel("127.0.0.1", "127.0.0.1", secured=True))
        if exchange is None:
            return Failure(Cause.UNAVAILABLE)
        answer = exchange.respond(f"\0{name}\0{password}".encode())
        return await answer if isawaitable(answer) else answer
    finally:
        backend.close()


def _kept(account: Account) -> list[str]:
    """Return what is kept of the password."""
    return ["Argon2id"] * (account.argon2 is not None) + ["SCRAM-SHA-256"] * (account.scram is not None)


def _document(account: Account) -> dict[str, object]:
    return {
        "name": account.name,
        "argon2id": account.argon2 is not None,
        "scram": account.scram is not None,
        "may_relay": account.may_relay,
        "enabled": account.enabled,
    }


def _say(account: Account, done: str, *, as_json: bool) -> None:
    print_json(_document(account) | {"done": done}) if as_json else typer.echo(f"{account.name}: {done}")
