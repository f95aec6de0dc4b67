"""`mailmoat bounces`: the bounces that were not sent, for which reasons and to whom, and the floods, out of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailmoat.cli.log_reading import LogOption, SinceOption, reading_log, sources_of
from mailmoat.cli.options import ConfigOption, JsonOption, print_json, settings_in_force

if TYPE_CHECKING:
    from mailmoat.tracing.bounces import Suppressions

ReasonOption = Annotated[str | None, typer.Option("--reason", metavar="REASON", help="Those of this reason alone.")]
LimitOption = Annotated[
    int, typer.Option("--limit", min=1, metavar="N", help="Lines of each table: the most, the latest.")
]


def bounces(
    log: LogOption = None,
    config: ConfigOption = None,
    *,
    since: SinceOption = None,
    reason: ReasonOption = None,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> None:
    """Show which bounces were not sent, and why: exit 0 if there are any, 1 if not."""
    from mailmoat.tracing import bounces as suppressed

    spool_dir = settings_in_force(config).spool_dir
    with reading_log():
        found = suppressed.find(sources_of(spool_dir, log, since), reason=reason, most=limit)
    if as_json:
        print_json(_document(found, limit))
    else:
        for line in _lines(found, limit):
            typer.echo(line)
    if not found.count:
        raise typer.Exit(1)


def _document(found: Suppressions, limit: int) -> dict[str, Any]:
    return {
        "suppressed": found.count,
        "reasons": dict(found.reasons.most_common()),
        "domains": dict(found.domains.most_common(limit)),
        "floods": list(found.floods),
        "latest": list(found.latest),
    }


def _lines(found: Suppressions, limit: int) -> list[str]:
    from mailmoat.printable import printable

    lines = [f"{count:9} {printable(reason)}" for reason, count in found.reasons.most_common()]
    if found.domains:
        lines += ["", "to senders at"]
        lines += [f"{count:9} {printable(domain)}" for domain, count in found.domains.most_common(limit)]
    if found.floods:
        lines += ["", "floods"]
    for flood in found.floods:
        end = f"over after {flood['duration']} s" if "duration" in flood else "began"
        lines.append(
            f"{flood['time']} {flood['side']}: {end}, {flood['withheld']} not sent, {flood['domains']} domains"
        )
    if found.latest:
        lines += ["", "the latest"]
    for one in found.latest:
        recipients = ", ".join(printable(str(recipient)) for recipient in one.get("recipients", ()))
        sender = printable(str(one.get("mail_from", "")))
        lines.append(f"{one['time']} {one['about']} {one['reason']} from <{sender}> to {recipients}")
    return lines or ["No bounce was suppressed."]
