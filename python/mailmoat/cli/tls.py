"""`mailmoat tls`: the certificates of the settings, and what a peer sees of a server's TLS.

`check` connects to the host it is given and to no other, and sends no message. Status 0: TLS works and the certificate can be
verified; 1: one of the two is not so, or the host cannot be reached; 2: the command line is wrong.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, complain, fail, print_json, settings_in_force

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailmoat._native import Certificate
    from mailmoat.cli.tls_probe import Result, Target
    from mailmoat.settings import Listener, Settings
    from mailmoat.tls.certificate_file import LoadedCertificate

SMTP_PORT: Final = 25
IMPLICIT_PORT: Final = 465
ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses to listen on that are none to connect to, and what is connected to instead."""

app = typer.Typer(help="TLS: the certificates of this server, and what a peer sees.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Show the certificates of this server, and what a peer sees of a server's TLS."""


@app.command("show")
def show(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Print the certificates of the settings: exit 0 if all can be used, 1 if one cannot."""
    from mailmoat import clock
    from mailmoat.errors import ConfigError
    from mailmoat.tls.certificates import used_by

    settings = settings_in_force(config)
    now = clock.wall_ms() // 1000
    try:
        loaded = _configured(settings)
    except ConfigError as error:
        complain(error)
    if as_json:
        print_json([_file_document(one, now) for one in loaded])
        return
    if not loaded:
        why = "the server makes one when it starts" if used_by(settings) else "tls.offer is off"
        typer.echo(f"There is no certificate: tls.certificate is not set, and {why}.")
    for number, one in enumerate(loaded):
        typer.echo("\n" * bool(number) + f"{one.source.certificate}")
        _print([*_certificate_lines(one.leaf, now), *_chain_lines(one.identity.chain)])


@app.command("check")
def check(  # noqa: PLR0917 - typer calls it, by name
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="HOST[:PORT]", help="The server; port 25 unless given. Default: this server, by its settings."
        ),
    ] = None,
    implicit: Annotated[
        bool | None,
        typer.Option("--implicit/--starttls", help="TLS from the first octet on, or STARTTLS. Default: by port."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The name the certificate must be for. Default: HOST.")
    ] = None,
    ca: Annotated[
        Path | None, typer.Option("--ca", metavar="FILE", help="CA certificates (PEM). Default: those of the system.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="Longest wait for the server.")] = 30,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Show what a peer sees: version, cipher suite, certificates, and whether they can be verified."""
    from mailmoat.cli import tls_probe

    aimed = _target(settings_in_force(config), target, implicit=implicit, name=name, ca=ca, timeout=timeout)
    try:
        found = tls_probe.examine(aimed)
    except tls_probe.ProbeError as error:
        if not as_json:
            fail(f"{aimed.place}: {error}")
        print_json({"host": aimed.place.host, "port": aimed.place.port, "error": str(error)})
        raise typer.Exit(1) from None
    if as_json:
        print_json(_document(aimed, found))
    else:
        typer.echo(f"{aimed.place}, {'TLS from the first octet on' if aimed.implicit else 'STARTTLS'}")
        _print(_lines(aimed, found))
    if not found.usual.facts.verified:
        raise typer.Exit(1)


def _configured(settings: Settings) -> tuple[LoadedCertificate, ...]:
    """Return the certificates of the settings, or the self-signed one if the server has made it. ConfigError as `given_by`."""
    from mailmoat.tls import self_signed
    from mailmoat.tls.certificates import given_by

    loaded = given_by(settings).loaded
    made = None if loaded else self_signed.existing(settings.spool_dir, settings.hostname)
    return (made,) if made else loaded


def _target(
    settings: Settings, written: str | None, *, implicit: bool | None, name: str | None, ca: Path | None, timeout: float
) -> Target:
    from mailmoat.cli.tls_probe import Target
    from mailmoat.net import endpoint
    from mailmoat.net.endpoint import Endpoint
    from mailmoat.tls import authorities
    from mailmoat.tls.certificate_file import CertificateError, read_file

    minimum = "1.2"
    if written is None:
        minimum, own = settings.tls.minimum, _own(settings)
        place, name = Endpoint(ANY.get(own.host, own.host), own.port), name or settings.hostname
        implicit = own.implicit_tls if implicit is None else implicit
    else:
        try:
            place = endpoint.to_connect_bare(written, IMPLICIT_PORT if implicit else SMTP_PORT)
        except ValueError as error:
            raise typer.BadParameter(f"{written}: {error}; write HOST[:PORT]", param_hint="HOST") from None
    file = ca or authorities.system_file()
    try:
        pem = read_file("--ca", file) if file else b""
    except CertificateError as error:
        fail(str(error))
    by_port = place.port == IMPLICIT_PORT
    return Target(place, by_port if implicit is None else implicit, name or place.host, pem, timeout, minimum)


def _own(settings: Settings) -> Listener:
    """Return the first address of this server that a peer can connect to directly."""
    own = next((listener for listener in settings.listen if listener.port and not listener.proxy), None)
    if own is None:
        fail("no address of `listen` takes a connection without a PROXY protocol header; name HOST[:PORT]")
    return own


def _lines(target: Target, found: Result) -> Iterator[tuple[str, str]]:
    from mailmoat import clock
    from mailmoat._native import Certificate

    facts, now = found.usual.facts, clock.wall_ms() // 1000
    yield "version", facts.version
    yield "cipher suite", facts.cipher_suite
    yield "key exchange", facts.group or "not known"
    yield "handshake", f"{found.usual.seconds * 1000:.1f} ms"
    for version, why in found.versions.items():
        yield version, f"no: {why}" if why else "yes"
    chain = [Certificate(der) for der in facts.peer_chain]
    if chain:
        yield from _certificate_lines(chain[0], now)
        yield from _chain_lines(chain)
    verdict = "" if facts.verified else _verdict(target, found)
    yield "verified", f"no: {verdict}{_hint(verdict, chain)}" if verdict else f"yes, for {target.name}"


def _verdict(target: Target, found: Result) -> str:
    if not target.authorities:
        return "this machine has no file of CAs; name one by --ca"
    return found.usual.facts.verdict or "the certificate was not verified"


def _hint(verdict: str, chain: list[Certificate]) -> str:
    """Return what may be the reason for a verdict, and how to look again."""
    match verdict:
        case "unknown issuer" if len(chain) == 1 and not chain[0].self_signed:
            return "; the server sends its own certificate alone: it lacks that of the CA"
        case "unknown issuer":
            return "; a CA of your own is named by --ca"
        case "not for this name":
            return "; another name is given by --name"
    return ""


def _certificate_lines(leaf: Certificate, now: int) -> Iterator[tuple[str, str]]:
    from mailmoat.printable import printable
    from mailmoat.tls.certificate_file import DAY, date

    yield "certificate", printable(leaf.subject or "no subject")
    yield from zip(("names", *[""] * len(leaf.names)), leaf.names or ["none"], strict=False)
    yield "issuer", "itself" if leaf.self_signed else printable(leaf.issuer)
    left = (leaf.not_after - now) // DAY
    rest = "not valid yet" if now < leaf.not_before else "expired" if left < 0 else f"{left} days left"
    yield "valid", f"{date(leaf.not_before)} to {date(leaf.not_after)}, {rest}"
    yield "key", leaf.key_kind
    yield "SHA-256", leaf.fingerprint
    yield "TLSA 3 1 1", leaf.public_key_digest


def _chain_lines(chain: list[Certificate]) -> Iterator[tuple[str, str]]:
    from mailmoat.printable import printable
    from mailmoat.tls.certificate_file import date

    for label, one in zip(("chain", *[""] * len(chain)), chain[1:], strict=False):
        yield label, f"{printable(one.subject)}, until {date(one.not_after)}"


def _print(lines: Iterator[tuple[str, str]] | list[tuple[str, str]]) -> None:
    for label, text in lines:
        typer.echo(f"  {label:13} {text}")


def _document(target: Target, found: Result) -> dict[str, object]:
    from mailmoat._native import Certificate

    facts = found.usual.facts
    return {
        "host": target.place.host,
        "port": target.place.port,
        "implicit": target.implicit,
        "name": target.name,
        "version": facts.version,
        "cipher_suite": facts.cipher_suite,
        "group": facts.group,
        "seconds": round(found.usual.seconds, 6),
        "versions": {version: why or None for version, why in found.versions.items()},
        "verified": facts.verified,
        "verdict": None if facts.verified else _verdict(target, found),
        "chain": [_certificate_document(Certificate(der)) for der in facts.peer_chain],
    }


def _file_document(one: LoadedCertificate, now: int) -> dict[str, object]:
    return {
        "certificate": str(one.source.certificate),
        "key": str(one.source.key),
        "days_left": one.days_left(now),
        "chain": [_certificate_document(each) for each in one.identity.chain],
    }


def _certificate_document(one: Certificate) -> dict[str, object]:
    names = (
        "subject", "issuer", "names", "not_before", "not_after", "key_kind", "fingerprint", "public_key_digest", "self_signed"
    )  # fmt: skip
    return {name: getattr(one, name) for name in names}
