"""`mailmoat relay-test HOST[:PORT]`: find out whether that server is an open relay.

Runs the seven tests of KB 304897 and their historical variants against any server, from outside and unauthenticated, and prints
what each found. It never sends a message (no DATA) and connects only to the given host. Exit 0: all pass; 1: one failed or could not
be completed; 2: wrong usage, or no connection.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mailmoat import clock
from mailmoat._native import normalise_address, normalise_domain
from mailmoat.cli.relay_probes import ACCEPTED_NOTE, Ground, Judged, Result, judge, make_probes
from mailmoat.net import endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from mailmoat.cli.relay_dialogue import Server

SMTP_PORT: Final = 25
REMOTE_DOMAIN: Final = "example.org"
"""Nobody's (RFC 2606), yet it exists in the DNS, so that a server that looks recipients up has no other reason to refuse."""
UNKNOWN_RECIPIENT: Final = "no-such-recipient-7q2x"

_COLOURS: Final = {Result.PASS: "green", Result.FAIL: "bold red", Result.INCONCLUSIVE: "yellow"}


def relay_test(  # noqa: PLR0917 - typer calls it, by name
    target: Annotated[str, typer.Argument(metavar="HOST[:PORT]", help="The server to test; port 25 unless given.")],
    local_domain: Annotated[
        str | None,
        typer.Option(help="A domain it is responsible for. Default: that of --recipient, else the server's name."),
    ] = None,
    sender_domain: Annotated[
        str | None, typer.Option(help="Domain of the foreign sender. Default: the remote domain.")
    ] = None,
    remote_domain: Annotated[str, typer.Option(help="A domain it must not relay to.")] = REMOTE_DOMAIN,
    recipient: Annotated[
        str | None, typer.Option(help="An address at the local domain that is known not to exist, to compare with.")
    ] = None,
    implicit: Annotated[  # noqa: FBT002 - a flag
        bool,
        typer.Option("--implicit", help="Begin with TLS, as on port 465; else STARTTLS where the server requires it."),
    ] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for each reply.")] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Test whether a server relays for strangers.

    Runs the seven classic relay tests and their historical variants on several connections side by side. No message is sent.
    """
    import asyncio

    from rich.console import Console
    from rich.text import Text

    from mailmoat.cli.relay_dialogue import meet

    screen = Console(stderr=True)
    try:
        host, port = _target(target)
        unknown = normalise_address(recipient) if recipient else ""
        local = local_domain or unknown.rpartition("@")[2]
        domains = [normalise_domain(domain) for domain in (remote_domain, sender_domain or remote_domain)]
        local = normalise_domain(local) if local else ""
        server = asyncio.run(meet(host, port, timeout, implicit=implicit))
    except (ValueError, ConnectionError) as error:
        screen.print(Text(f"relay-test: {error}"), soft_wrap=True)
        raise typer.Exit(2) from error
    ground, origin = prepare(server, local, domains[0], domains[1], unknown)
    begun = clock.monotonic()
    judged = _run(server, ground, timeout, screen)
    if as_json:
        typer.echo(json.dumps(render_json(server, ground, origin, judged), indent=2))
    else:
        _print_table(server, ground, origin, judged, clock.monotonic() - begun)
    raise typer.Exit(0 if all(one.result is Result.PASS for one in judged) else 1)


def _target(written: str) -> tuple[str, int]:
    try:
        server = endpoint.to_connect_bare(written, SMTP_PORT)
    except ValueError as error:
        raise ValueError(
            f"{written}: {error}; write HOST[:PORT], such as mail.example.com:25 or [2001:db8::1]:25"
        ) from None
    return server.host, server.port


def prepare(server: Server, local: str, remote: str, sender: str, unknown: str) -> tuple[Ground, str]:
    """Give what the probes are made of, and where the local domain comes from."""
    try:
        name = normalise_domain(server.name)
    except ValueError:
        name = "localhost"  # it has no usable one
    origin = "as given" if local else "the name the server gives itself"
    local = local or name
    unknown = unknown or f"{UNKNOWN_RECIPIENT}@{local}"
    return Ground(local=local, remote=remote, sender=sender, name=name, ip=server.host, unknown=unknown), origin


def _run(server: Server, ground: Ground, timeout: float, screen: Console) -> list[Judged]:
    import asyncio

    from rich.progress import Progress

    from mailmoat.cli.relay_dialogue import run_probes

    probes = make_probes(ground)
    with Progress(console=screen, disable=not screen.is_terminal, transient=True) as progress:
        task = progress.add_task("Testing for open relays", total=len(probes))
        outcomes = asyncio.run(run_probes(server, probes, timeout, lambda: progress.advance(task)))
    return judge(outcomes, ground)


def render_json(server: Server, ground: Ground, origin: str, judged: Sequence[Judged]) -> dict[str, object]:
    """Return the results as a document."""
    return {
        "server": {"host": server.host, "port": server.port, "greeting": server.greeting},
        "local_domain": ground.local,
        "local_domain_origin": origin,
        "remote_domain": ground.remote,
        "results": {result.value: sum(one.result is result for one in judged) for result in Result},
        "probes": [
            {
                "number": one.outcome.probe.number,
                "name": one.outcome.probe.name,
                "mail_from": one.outcome.probe.sender,
                "rcpt_to": one.outcome.probe.recipient,
                "reply": one.outcome.reply,
                "seconds": round(one.outcome.seconds, 3),
                "verdict": one.result.value,
                "note": one.note,
            }
            for one in judged
        ],
    }


def _print_table(server: Server, ground: Ground, origin: str, judged: Sequence[Judged], seconds: float) -> None:
    """Print three lines for each probe, none of them cut or folded, so that a script finds whole lines."""
    from rich.console import Console
    from rich.text import Text

    console = Console()

    def say(*parts: str | tuple[str, str]) -> None:
        console.print(Text.assemble(*parts), soft_wrap=True)

    say(f"{server.host} port {server.port}: {server.greeting}")
    say(f"Local domain {ground.local} ({origin}), remote domain {ground.remote}.\n")
    for one in judged:
        probe = one.outcome.probe
        verdict = f"{one.result.value}: {one.note}" if one.note else one.result.value
        say(f"{probe.number:2}  {probe.name}: ", (verdict, _COLOURS[one.result]))
        say(f"    MAIL FROM:{probe.sender} RCPT TO:{probe.recipient}")
        say(f"    {one.outcome.reply or 'no reply'} ({one.outcome.seconds:.1f} s)")
    for sentence in summarise(judged, seconds):
        say(sentence)


def summarise(judged: Sequence[Judged], seconds: float) -> list[str]:
    """Give the result in plain sentences."""
    failed = [one for one in judged if one.result is Result.FAIL]
    inconclusive = [one for one in judged if one.result is Result.INCONCLUSIVE]
    passed = len(judged) - len(failed) - len(inconclusive)
    sentences = [f"\n{passed} of {len(judged)} tests passed in {seconds:.1f} s."]
    if failed:
        sentences.append(f"Failed: {_names(failed)}.")
        sentences.append(
            "Strangers can send mail through this server to anybody: it will be used for spam and listed for it."
        )
    accepted = [one for one in inconclusive if one.note == ACCEPTED_NOTE]
    if accepted:
        sentences.append(
            f"Inconclusive: {_names(accepted)}. These were accepted, which does not show what becomes of them: send a message to one "
            "of them and look whether a report comes back or the message arrives."
        )
    unanswered = [one for one in inconclusive if one.note != ACCEPTED_NOTE]
    if unanswered:
        sentences.append(
            f"Inconclusive: {_names(unanswered)}. Nothing is proved about these: run the test again, or with a longer --timeout."
        )
    return sentences


def _names(judged: Sequence[Judged]) -> str:
    return ", ".join(f"#{one.outcome.probe.number} {one.outcome.probe.name}" for one in judged)
