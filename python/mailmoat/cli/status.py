"""`mailmoat status` and `mailmoat reload`: the state of the server on this spool directory, and a reload of its settings.

The server is found by its lock on the spool directory (supervisor/instance.py). Its health is requested from its admin address, as a
monitor does; without one it is not known. Both must run as root or as the server's account, because the spool is only for them.
"""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, fail, print_json, settings_in_force
from mailmoat.printable import printable
from mailmoat.span import span

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mailmoat.settings import Settings
    from mailmoat.supervisor.instance import ReloadResult, State

HEALTH_TIME: Final = 5.0
"""Seconds to wait for the admin address."""
CHECK_TIME_MS: Final = 50
MOST_ROUTES: Final = 20
"""Routes that are listed, and next hops."""
BOUNCES: Final = {
    "off": "off: senders do not learn that their message was not delivered (ndr.enabled)",
    "flood": "a flood is on: see bounce-flood-began in the log",
}
"""What is said of bounces, where something is to be said."""

WaitOption = Annotated[float, typer.Option("--wait", min=0, metavar="SECONDS", help="Longest wait for the result.")]


def status(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show the state of the server: exit 0 if it runs and accepts mail, 1 if it does not run or its health is failing."""
    from mailmoat.supervisor import instance

    settings = settings_in_force(config)
    spool_dir = settings.spool_dir
    pid = find(spool_dir)
    if pid is None:
        if not as_json:
            fail(f"no server runs on {spool_dir}")
        print_json({"running": False, "spool_dir": str(spool_dir)})
        raise typer.Exit(1)
    state = instance.state_of(spool_dir)
    found = _document(settings, pid, state)
    if as_json:
        print_json(found)
    else:
        for label, text in _lines(found, state):
            typer.echo(f"{label:9} {text}")
    if (found["health"] or {}).get("status") == "failing":
        raise typer.Exit(1)


def reload(config: ConfigOption = None, *, wait: WaitOption = 180.0) -> None:
    """Make the server read its settings again: exit 0 if it accepted them, 1 if it refused them or if no server runs."""
    spool_dir = settings_in_force(config).spool_dir
    pid = find(spool_dir)
    if not pid:
        fail(f"no server runs on {spool_dir}")
    outcome = request_reload(spool_dir, pid, wait)
    if outcome is None:
        fail(f"the server (pid {pid}) did not say within {wait:g} s whether it accepted its settings: see its log")
    for reason in outcome.refused:
        typer.echo(f"refused: {reason}", err=True)
    if outcome.refused:
        fail(f"the server (pid {pid}) continues with what was in force before")
    for key in outcome.kept:
        typer.echo(f"warning: {key} has changed and takes effect at a restart only", err=True)
    typer.echo(f"The server (pid {pid}) has read its settings again.")


def find(spool_dir: Path) -> int | None:
    """Return the pid of the server that runs there; None when there is none. Ends the command if that cannot be determined."""
    from mailmoat.supervisor import instance

    try:
        return instance.find_server(spool_dir)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}; run this as root or as the server's account")


def request_reload(spool_dir: Path, pid: int, wait: float) -> ReloadResult | None:
    """Send SIGHUP and wait for the end of a reload that began after it; None when none ended in time."""
    import select

    from mailmoat import clock
    from mailmoat.supervisor import instance

    sent = clock.monotonic_ms()
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        fail(
            f"the server (pid {pid}) cannot be signalled: {error.strerror}; run this as root or as the server's account"
        )
    while clock.monotonic_ms() - sent <= wait * 1000:
        state = instance.state_of(spool_dir)
        if state is not None and state.reload is not None and state.reload.begun >= sent:
            return state.reload
        if instance.find_server(spool_dir) != pid:
            fail(f"the server (pid {pid}) has ended")
        select.poll().poll(CHECK_TIME_MS)
    return None


def _document(settings: Settings, pid: int, state: State | None) -> dict[str, Any]:
    import msgspec

    from mailmoat import _native, clock

    spool_dir = settings.spool_dir
    said = msgspec.to_builtins(state) if state else {}
    try:
        messages: int | None = _native.count_spool(str(spool_dir))
    except OSError:
        messages = None
    return {
        "running": True,
        "spool_dir": str(spool_dir),
        **said,
        "pid": pid,
        "uptime": round((clock.wall_ms() - state.started) / 1000) if state else None,
        "messages": messages,
        "next_hops": _next_hops(spool_dir),
        "health": _health(state.admin) if state and state.admin else None,
        "failing_sources": _failing_sources(settings),
    }


def _failing_sources(settings: Settings) -> list[dict[str, str]]:
    """Return the sources of recipients that are not in order, a reason each; none that was there before a reload."""
    from mailmoat.directory.configured import served_directory

    if not settings.directories:
        return []
    directory, names = served_directory(settings), {row.name for row in settings.directories}
    found = [
        (row.name, fresh.reason, doubt and f"not in force, because {doubt}") for row, fresh, doubt in directory.doubts
    ]
    found += [
        (live.name, live.error, "; ".join(live.remarks) if live.inconclusive else "")
        for live in directory.freshness.live
        if live.name in names
    ]
    return [{"name": name, "error": "; ".join(filter(None, reasons))} for name, *reasons in found if any(reasons)]


def _next_hops(spool_dir: Path) -> list[dict[str, Any]]:
    """Return the destinations that the workers have open, those with the most connections first."""
    from mailmoat.queue_work.overview import Destination, add_open

    destinations: dict[str, Destination] = {}
    add_open(spool_dir, destinations)
    found = sorted(destinations.items(), key=lambda entry: (-entry[1].connections, -entry[1].active, entry[0]))
    return [
        {"name": name, "connections": one.connections, "active": one.active, "state": one.state}
        for name, one in found
        if name
    ]


def _health(address: str) -> dict[str, Any]:
    import http.client

    from mailmoat.net import endpoint

    try:
        server = endpoint.parse(address)
        connection = http.client.HTTPConnection(server.host, server.port, timeout=HEALTH_TIME)
        try:
            connection.request("GET", "/healthz")
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        return {"status": "unknown", "reasons": [f"{address} does not answer: {reason}"]}
    return answer


def _lines(found: dict[str, Any], state: State | None) -> list[tuple[str, str]]:
    from mailmoat.logstream import timestamp

    health = found["health"]
    if health:
        lines = [("health", "; ".join([health["status"], *health["reasons"]]))]
    else:
        lines = [("health", "not known: there is no admin address to ask")]
    lines += _listed("source", [printable(f"{one['name']}: {one['error']}") for one in found["failing_sources"]])
    lines += [("spool", found["spool_dir"]), ("pid", str(found["pid"] or "not visible from here"))]
    if state is not None:
        lines += [
            ("version", state.version),
            ("since", f"{timestamp(state.started)} ({span(found['uptime'] * 1000)})"),
            ("listen", ", ".join(state.listen)),
            ("settings", f"generation {state.generation}{_last(state.reload)}"),
            *_listed("route", state.routes),
        ]
    lines += _listed("next hop", [_next_hop(one) for one in found["next_hops"]])
    if health and "workers_ready" in health:
        lines.append(("workers", f"{health['workers_ready']} of {health['workers_wanted']} ready"))
    tls = health.get("tls") if health else None
    if tls:
        lines.append(("tls", f"certificate {tls['state']}, {tls['days_left']} days left"))
    if harvests := (health or {}).get("harvests"):
        lines.append(
            (
                "harvests",
                f"{harvests} {'attack goes' if harvests == 1 else 'attacks go'} on: see harvest-began in the log",
            )
        )
    lists = health.get("lists") if health else None
    if lists:
        lines.append(("lists", f"{lists['block']} blocked, {lists['allow']} allowed; {lists['state']}"))
    bounces = health.get("bounces") if health else None
    if bounces in BOUNCES:
        lines.append(("bounces", BOUNCES[bounces]))
    messages = found["messages"]
    lines.append(("messages", "cannot be counted" if messages is None else str(messages)))
    return lines


def _next_hop(one: dict[str, Any]) -> str:
    connections = f"{one['connections']} {'connection' if one['connections'] == 1 else 'connections'}"
    return printable(f"{one['name']}: {one['state']}, {connections}, {one['active']} in delivery")


def _listed(label: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return a line for each text, as far as they fit on a screen."""
    left_out = len(texts) - MOST_ROUTES
    lines = [(label, one) for one in texts[: MOST_ROUTES if left_out > 1 else None]]
    return [*lines, (label, f"and {left_out} more: see --json")] if left_out > 1 else lines


def _last(reload: ReloadResult | None) -> str:
    from mailmoat.logstream import timestamp

    if reload is None:
        return ""
    if not reload.refused:
        return f", reloaded {timestamp(reload.ended)}"
    return f"; a reload was refused {timestamp(reload.ended)}: {'; '.join(reload.refused)}"
