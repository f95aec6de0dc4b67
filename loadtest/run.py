"""The load test: starts a server in a directory of its own, or takes the one you name, and runs locust's SMTP clients against it.

First the same users go to smtp-sink, which does next to nothing: that is the client's own limit. The report says so when the
server came near it, or when the client's core was full, because then the results are the client's and not the server's. Leaves
`report.html`, locust's CSV files, `times.json` (milliseconds, unrounded) and `summary.json` in the output directory.

Ends with 1 when a request failed. Weights and sizes: see loadtest/locustfile.py.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loadtest.processes import ROOT, Tree, Trouble, end_tidily, start, stop
from loadtest.servers import Setup, start_mailmoat, start_sink

if TYPE_CHECKING:
    import subprocess

NEAR_CALIBRATION = 0.70
CLIENT_BUSY = 0.85
STEP = 2.0


@dataclass
class Outcome:
    """What one run of locust gave."""

    messages: int
    per_second: float
    failures: int
    client_busy: float
    """Share of one core that the client used."""
    server_cpu_us: float
    """Server CPU microseconds a message, all that the mixture asks of it included."""


def main() -> int:
    """Run the test as the command line says."""
    end_tidily()
    options = arguments()
    output: Path = options.out
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mailmoat-load-") as temporary:
        ceiling = calibrate(options, output, Path(temporary))
        outcome = measure(options, output, Path(temporary))
    words = verdict(outcome, ceiling)
    summary = {"calibration": asdict(ceiling) if ceiling else None, "server": asdict(outcome), "verdict": words}
    (output / "summary.json").write_text(json.dumps(summary, indent=1))
    show(outcome, ceiling, words, output)
    return 1 if outcome.failures else 0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="loadtest/run.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--time", type=float, default=30.0, help="seconds against the server (default 30)")
    parser.add_argument("--calibration", type=float, default=10.0, help="seconds against smtp-sink, 0 leaves it out")
    parser.add_argument("--users", type=int, default=30)
    parser.add_argument("--tarpit", type=float, default=1.0, help="seconds that refusals are held (default 1)")
    parser.add_argument("--server", help="host:port of a running server, instead of starting one")
    parser.add_argument("--out", type=Path, default=ROOT / "loadtest" / "results" / "loadtest")
    return parser.parse_args()


def cores() -> tuple[set[int], set[int]]:
    """Return the CPUs for the client and for the server: the last one and the others; if there is only one, it is for both."""
    everything = sorted(os.sched_getaffinity(0))
    return ({everything[-1]}, set(everything[:-1])) if len(everything) > 1 else (set(everything), set(everything))


def calibrate(options: argparse.Namespace, output: Path, temporary: Path) -> Outcome | None:
    """Measure this client against smtp-sink; None if that is left out or smtp-sink is missing."""
    if not options.calibration:
        return None
    directory = temporary / "sink"
    directory.mkdir()
    try:
        sink = start_sink(directory)
    except Trouble as trouble:
        print(f"not calibrated: {trouble}")
        return None
    try:
        os.sched_setaffinity(sink.process.pid, cores()[1])
        print(f"==> calibrating the client against smtp-sink, {options.calibration:.0f} s")
        target = f"127.0.0.1:{sink.port}"
        return locust(
            target,
            sink.tree,
            seconds=options.calibration,
            users=options.users,
            prefix=output / "calibration",
            judge=False,
        )
    finally:
        sink.stop()


def measure(options: argparse.Namespace, output: Path, temporary: Path) -> Outcome:
    """Let the users at the server."""
    if options.server:
        print(f"==> load on {options.server}, {options.time:.0f} s")
        return locust(options.server, None, seconds=options.time, users=options.users, prefix=output / "report")
    directory = temporary / "server"
    directory.mkdir()
    sink = start_sink(directory)
    try:
        places = cores()[1]
        setup = Setup(next_hop=sink.port, tarpit=options.tarpit, workers=len(places))
        server = start_mailmoat(directory, setup)
        try:
            for pid in (sink.process.pid, *server.tree.pids()):
                os.sched_setaffinity(pid, places)
            print(
                f"==> load on mailmoat, {options.time:.0f} s, refusals held {options.tarpit:g} s, delivery to smtp-sink"
            )
            target = f"127.0.0.1:{server.port}"
            return locust(target, server.tree, seconds=options.time, users=options.users, prefix=output / "report")
        finally:
            server.stop()
    finally:
        sink.stop()


def locust(
    target: str, server: Tree | None, *, seconds: float, users: int, prefix: Path, judge: bool = True
) -> Outcome:
    """Run locust headless against `target`; leaves `PREFIX.html`, `PREFIX_*.csv` and `PREFIX-times.json`.

    Raises:
        Trouble: locust is missing or did not run to its end.

    """
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtest" / "locustfile.py"), "--headless"]
    command += ["-u", str(users), "-r", "100", "-t", f"{seconds:.0f}s", "-H", target, "--only-summary", "-s", "2"]
    command += ["--csv", str(prefix), "--html", f"{prefix}.html", "--exit-code-on-error", "0", "-L", "ERROR"]
    log = prefix.with_name(prefix.name + "-locust.log")
    log.write_text("")
    times = f"{prefix}-times.json"
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    before = server.cpu() if server else 0.0
    process = start(command, log, {**os.environ, "PYTHONPATH": paths, "TIMES": times, "JUDGE": str(int(judge))})
    try:
        os.sched_setaffinity(process.pid, cores()[0])
        busy = follow(process, prefix, seconds)
    finally:
        if process.poll() is None:
            stop(process)
    if process.returncode != 0 or not Path(f"{prefix}_stats.csv").exists():
        raise Trouble(f"locust ended with {process.returncode}: {log.read_text()[-800:]}")
    spent = (server.settle() if server else 0.0) - before
    return outcome(Path(f"{prefix}_stats.csv"), busy, spent)


def follow(process: subprocess.Popen[bytes], prefix: Path, seconds: float) -> float:
    """Show a progress line until locust ends; gives the share of a core the client used while it was at work."""
    begun = time.monotonic()
    tree = Tree(process.pid)
    readings = [(begun, tree.cpu())]
    while process.poll() is None and time.monotonic() < begun + seconds + 60:
        time.sleep(STEP / 2)
        now = time.monotonic()
        if process.poll() is None and now - begun < seconds:
            readings.append((now, tree.cpu()))
        progress(now - begun, seconds, Path(f"{prefix}_stats_history.csv"))
    print(flush=True)
    # The start of the interpreter and of the users is not the load.
    first, last = readings[min(2, len(readings) - 1)], readings[-1]
    return (last[1] - first[1]) / (last[0] - first[0]) if last[0] > first[0] else 0.0


def progress(spent: float, seconds: float, history: Path) -> None:
    """Write the line anew."""
    text = ""
    if history.exists():
        with history.open(newline="") as opened:
            rows = [row for row in csv.DictReader(opened) if row.get("Name") == "Aggregated"]
        if rows:
            last = rows[-1]
            text = f"{float(last['Requests/s']):,.0f} requests/s, {last['Total Request Count']} in all, "
            text += f"{last['Total Failure Count']} failed"
    print(f"\r    {min(spent, seconds):4.0f}/{seconds:.0f} s  {text}", end="    ", flush=True)


def outcome(stats: Path, busy: float, spent: float) -> Outcome:
    """Read locust's table."""
    with stats.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    sent = [row for row in rows if row["Name"].startswith("message")]
    messages = sum(int(row["Request Count"]) - int(row["Failure Count"]) for row in sent)
    failures = sum(int(row["Failure Count"]) for row in rows if row["Name"] != "Aggregated")
    rate = sum(float(row["Requests/s"]) for row in sent)
    return Outcome(messages, round(rate, 1), failures, round(busy, 3), round(spent / max(messages, 1) * 1e6, 1))


def verdict(outcome: Outcome, ceiling: Outcome | None) -> list[str]:
    """Say whose limit it was."""
    words = []
    if ceiling is not None and outcome.per_second > NEAR_CALIBRATION * ceiling.per_second:
        share = outcome.per_second / ceiling.per_second
        words.append(
            f"The client was the limit: the server reached {share:.0%} of what this client does against smtp-sink."
        )
    if outcome.client_busy > CLIENT_BUSY:
        words.append(f"The client was the limit: its core was {outcome.client_busy:.0%} busy.")
    if ceiling is None:
        words.append("Not calibrated: nobody knows what this client could do.")
    if outcome.failures:
        words.append(f"{outcome.failures} requests failed: see report_failures.csv.")
    return words or ["The server was the limit, or the users' own pauses were; nothing failed."]


def show(outcome: Outcome, ceiling: Outcome | None, words: list[str], output: Path) -> None:
    """Tell a person."""
    if ceiling is not None:
        print(f"smtp-sink: {ceiling.per_second:,.0f} messages/s, client {ceiling.client_busy:.0%} of a core")
    print(f"server:    {outcome.per_second:,.0f} messages/s, client {outcome.client_busy:.0%} of a core", end="")
    print(f", {outcome.server_cpu_us:,.0f} µs CPU a message, tarpit and refusals included")
    print(*words, sep="\n")
    times = output / "report-times.json"
    if times.exists():
        for name, spread in json.loads(times.read_text()).items():
            numbers = "  ".join(f"{key} {value:,.2f}" for key, value in spread.items() if key != "count")
            print(f"    {name:20} {spread['count']:8}  {numbers} ms")
    print(f"report: {output / 'report.html'}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Trouble as trouble:
        sys.exit(f"loadtest: {trouble}")
