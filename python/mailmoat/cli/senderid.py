"""`mailmoat senderid`: its settings, shown and set, and checks by hand (Exchange: Get-, Set-SenderIdConfig, Test-SenderId).

`set` writes the settings file and reloads the running server; `test` queries the name servers of the settings, as the server does,
without bypasses and actions: it prints the status, not what would follow.
"""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, complain, fail, print_json, settings_in_force

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat.mailauth.results import Step
    from mailmoat.mailauth.senderid.identities import Finding, Identity
    from mailmoat.settings import Entry, Settings

    Checked = list[tuple[Finding, list[Step]]]

GROUP = "senderid."
RELOAD_TIME = 60.0
"""Seconds to wait for the running server to say whether it took a changed setting."""

app = typer.Typer(help="Sender ID and SPF: settings, and checks by hand.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Manage Sender ID and SPF: settings, and checks by hand."""


@app.command("get")
def get(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Print the settings of Sender ID, with where each came from."""
    settings = settings_in_force(config)
    shown = [(entry, entry.form.show(entry.value(settings))) for entry in _entries()]
    if as_json:
        print_json({_name(entry): _plain(entry, settings) for entry, _ in shown})
        return
    for entry, value in shown:
        typer.echo(f"{_name(entry)} = {value}  [{settings.origin(entry.key)}]")


@app.command("set")
def set_(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Such as spoofed_domain_action or SpoofedDomainAction.")],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Such as Reject; a list has commas.")],
    config: ConfigOption = None,
) -> None:
    """Write one setting into the settings file, keep its comments, and reload the running server."""
    from mailmoat.errors import ConfigError
    from mailmoat.settings import settings_file, warnings, write_setting

    known = {_name(entry): entry for entry in _entries()}
    entry = known.get(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower().removeprefix(GROUP))
    if entry is None:
        fail(f"{key}: no such setting; there are {', '.join(known)}")
    file = settings_file(config)
    if file is None:
        fail("there is no settings file to write to: name one by --config or MAILMOAT_CONFIG")
    try:
        settings = write_setting(file, entry.key, value)
    except ConfigError as error:
        complain(error)
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}")
    typer.echo(f"{file}: {entry.key} = {entry.form.show(entry.value(settings))}")
    if settings.origin(entry.key) != str(file):
        typer.echo(f"warning: {settings.origin(entry.key)} in the environment overrides it", err=True)
    for warning in warnings(settings):
        if GROUP in warning:
            typer.echo(f"warning: {warning}", err=True)
    typer.echo(_tell(settings.spool_dir))


@app.command("test")
def check(
    *,
    ip: Annotated[str, typer.Option("--ip", metavar="ADDRESS", help="The address the message comes from.")],
    pra_domain: Annotated[
        str, typer.Option("--pra-domain", metavar="DOMAIN", help="Domain of the purported responsible address.")
    ] = "",
    message: Annotated[
        Path | None,
        typer.Option(
            "--message", metavar="FILE", help="Check a complete message: its header section, MAIL FROM and HELO."
        ),
    ] = None,
    helo: Annotated[str, typer.Option("--helo", metavar="NAME", help="The name the client gave in HELO or EHLO.")] = "",
    mail_from: Annotated[
        str,
        typer.Option("--mail-from", metavar="ADDRESS", help="With --message: its sender. Default: the null sender <>."),
    ] = "",
    config: ConfigOption = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Show each record and each mechanism with its result.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what Sender ID finds: 0 for Pass, Neutral, SoftFail and None, 1 for Fail, TempError and PermError."""
    import asyncio

    if bool(pra_domain) == bool(message):
        raise typer.BadParameter("name one of --pra-domain and --message", param_hint="--pra-domain")
    source = _address(ip)
    identities = _of_domain(pra_domain) if message is None else _of_message(message, mail_from, helo)
    settings = settings_in_force(config)
    checked = asyncio.run(_ask(settings, identities, source, helo, trace=trace))
    if as_json:
        print_json([_document(finding, steps) for finding, steps in checked])
    else:
        _print(checked)
    if any(finding.result.status in ("Fail", "TempError", "PermError") for finding, _ in checked):
        raise typer.Exit(1)


async def _ask(settings: Settings, identities: Sequence[Identity], source: str, helo: str, *, trace: bool) -> Checked:
    """Return each identity's result and, with `trace`, the way to it; all on one message's budget."""
    from mailmoat.mailauth.results import CheckRequest, Result
    from mailmoat.mailauth.senderid.identities import Finding, known
    from mailmoat.mailauth.spf.checker import Checker
    from mailmoat.resolver import Budget
    from mailmoat.resolver.resolver import DnsResolver

    resolver = DnsResolver(settings.dns)
    checker = Checker(resolver, void_lookups=settings.senderid.void_lookups)
    budget = Budget(settings.dns.budget_queries, settings.dns.budget_time)
    checked: Checked = []
    try:
        for identity in identities:
            steps: list[Step] = []
            request = CheckRequest(source, identity.scope, identity.mailbox, helo or "unknown", settings.hostname)
            result = known(identity) or checker.check(request, budget, steps if trace else None)
            checked.append((Finding(identity, result if isinstance(result, Result) else await result), steps))
    finally:
        await resolver.close()
    return checked


def _of_domain(written: str) -> list[Identity]:
    from mailmoat.mailauth.results import Scope
    from mailmoat.mailauth.senderid.identities import Identity, IdentityKind, host_name

    domain = host_name(written)
    if not domain:
        raise typer.BadParameter(f"{written} is no domain", param_hint="--pra-domain")
    return [Identity(IdentityKind.PRA, Scope.PRA, f"postmaster@{domain}", domain, "header.from")]


def _of_message(file: Path, mail_from: str, helo: str) -> list[Identity]:
    from mailmoat._native import Address
    from mailmoat.mailauth.senderid.identities import envelope, responsible

    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}")
    try:
        reverse_path = Address.parse(mail_from) if mail_from.strip("<>") else None
    except ValueError as error:
        raise typer.BadParameter(f"{mail_from}: {error}", param_hint="--mail-from") from None
    header_lines = lines[: lines.index(b"")] if b"" in lines else lines
    header = b"".join(line + b"\r\n" for line in header_lines)
    return [responsible(header, reverse_path, helo), *envelope(reverse_path, helo)]


def _print(checked: Checked) -> None:
    for finding, steps in checked:
        for step in steps:
            typer.echo(f"{'  ' * (step.depth + 1)}{step.kind:<9}  {step.text}  ->  {step.outcome}")
        result = finding.result
        typer.echo(
            f"{finding.identity.kind:<8}  {finding.identity.domain or '-'}: {result.status} ({result.reason or 'no reason given'})"
        )
        for what, text in (("mechanism", result.mechanism), ("problem", result.problem)):
            if text:
                typer.echo(f"          {what}: {text}")
        if result.explanation:
            typer.echo(f"          the domain explains: {result.explanation}")


def _document(finding: Finding, steps: Sequence[Step]) -> dict[str, object]:
    identity, result = finding.identity, finding.result
    return {
        "identity": identity.kind,
        "mailbox": identity.mailbox,
        "domain": identity.domain,
        "status": result.status,
        "reason": result.reason,
        "mechanism": result.mechanism,
        "problem": result.problem,
        "explanation": result.explanation,
        "trace": [
            {"depth": step.depth, "kind": step.kind, "text": step.text, "outcome": step.outcome} for step in steps
        ],
    }


def _address(written: str) -> str:
    from mailmoat.net import address

    try:
        return address.canonical(written)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--ip") from None


def _entries() -> list[Entry]:
    from mailmoat.settings import entries

    return [entry for entry in entries().values() if entry.key.startswith(GROUP)]


def _name(entry: Entry) -> str:
    return entry.key.removeprefix(GROUP)


def _plain(entry: Entry, settings: Settings) -> object:
    value = entry.value(settings)
    return [str(item) for item in value] if isinstance(value, tuple) else value


def _tell(spool_dir: Path) -> str:
    """Make the running server read its settings again; a sentence that says what came of it."""
    from mailmoat.cli.status import find, request_reload

    pid = find(spool_dir)
    if not pid:
        return f"No server was found running on {spool_dir}: send SIGHUP to one that is."
    outcome = request_reload(spool_dir, pid, RELOAD_TIME)
    if outcome is None:
        return f"The running server (pid {pid}) was asked to read its settings again; its log says whether it did."
    if outcome.refused:
        return f"The running server (pid {pid}) refused to read its settings again: {'; '.join(outcome.refused)}"
    return f"The running server (pid {pid}) has read its settings again."
