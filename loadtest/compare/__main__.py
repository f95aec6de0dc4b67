"""Compare: `python -m loadtest.compare` is the short form, `--full --publish` the one whose results are worth printing.

Leaves JSON after every round, so that what was measured is not lost when a later round fails.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest import micro
from loadtest.compare import document, machine
from loadtest.compare.cases import CASES, Case, Job, Options
from loadtest.compare.peers import ALL
from loadtest.processes import ROOT, Trouble, end_tidily

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORT = Options(messages=3_000, held=2_000, hold=6.0, large_directory=100_000, queued=(1_000, 5_000), released=20_000)
FULL = Options(
    messages=5_000,
    held=20_000,
    hold=30.0,
    large_directory=1_000_000,
    queued=(1_000, 10_000, 100_000, 1_000_000),
    released=1_000_000,
)
SHORT_CASES = "new,reused,pipelined,relay,relay_new,flood,held,micro"


def main() -> int:
    """Run what the command line asks for."""
    end_tidily()
    chosen = arguments()
    options = options_of(chosen)
    names = chosen.cases.split(",")
    cases = [case for case in CASES if case.name in names]
    unknown = set(names) - {case.name for case in CASES} - {"micro"}
    peers = [peer for peer in ALL if peer.name in chosen.peers.split(",")]
    if unknown or not peers:
        sys.exit(f"no such case or peer: {', '.join(unknown) or chosen.peers}")
    for peer in peers:
        if peer.missing():
            print(f"skipped: {peer.name}: {peer.missing()}")
    results: dict[str, Any] = {
        "machine": machine.describe(),
        "busy_limit": machine.BUSY,
        "versions": {peer.name: peer.version() for peer in peers if not peer.missing()},
        "command": shlex.join(["python", "-m", "loadtest.compare", *_said(sys.argv[1:])]),
        "rounds": chosen.rounds,
        "options": asdict(options),
        "cases": {},
    }
    if results["machine"]["others_busy"] > machine.BUSY:
        print(f"warning: others use {results['machine']['others_busy']} cores; these results are not for printing")
    compare(cases, peers, options, chosen, results)
    if "micro" in names:
        results["micro"] = micro.measure(chosen.rounds, short=not chosen.full)
        save(results, chosen.out)
    print("\n" + document.whole(results))
    print(f"{chosen.out} written")
    if chosen.publish:
        document.publish(results, chosen.publish)
        print(f"{chosen.publish} written")
    untold = unmeasured(results)
    if untold:
        print(f"could not be measured: {', '.join(untold)}")
    return 1 if untold else 0


def unmeasured(results: dict[str, Any]) -> list[str]:
    """Return the cases without a sample although a server could give one. An aim that is not met is a result."""
    cases = ((name, list(case["samples"].values())) for name, case in results["cases"].items())
    return [
        name
        for name, samples in cases
        if samples and not any(sample and "failed" not in sample for those in samples for sample in those)
    ]


def _said(words: list[str]) -> list[str]:
    """Return the command line without the path of the JSON."""
    at = words.index("--out") if "--out" in words else len(words)
    return [word for word in words[:at] + words[at + 2 :] if not word.startswith("--out=")]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    results = ROOT / "loadtest" / "results"
    every = ",".join(case.name for case in CASES)
    parser = argparse.ArgumentParser(prog="python -m loadtest.compare", description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="all cases, 5 rounds, large counts")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (1; full: 5)")
    parser.add_argument("--messages", type=int, help=f"messages a sample ({SHORT.messages}; full: {FULL.messages})")
    parser.add_argument("--held", type=int, help=f"held sessions ({SHORT.held}; full: {FULL.held})")
    parser.add_argument("--hold", type=float, help=f"seconds they are held ({SHORT.hold:g}; full: {FULL.hold:g})")
    parser.add_argument("--queued", help="sizes of the queue, ascending, comma between")
    parser.add_argument("--released", type=int, help="sessions held and released in the search for leaks")
    parser.add_argument("--large-directory", type=int, help="entries of the large directory")
    parser.add_argument("--cases", help=f"of {every},micro ({SHORT_CASES}; full: all)")
    parser.add_argument("--peers", default=",".join(peer.name for peer in ALL), help="comma between")
    parser.add_argument("--out", type=Path, help="the JSON (loadtest/results/bench.json; published: compare.json)")
    parser.add_argument(
        "--publish", type=Path, nargs="?", const=ROOT / "docs" / "performance.md", help="write the document too"
    )
    parser.add_argument("--from", dest="source", type=Path, help="measure nothing: tell what this JSON says")
    parser.add_argument(
        "--add", type=Path, help="with --from: and what this one says, of the same machine and versions"
    )
    chosen = parser.parse_args()
    chosen.rounds = chosen.rounds or (5 if chosen.full else 1)
    chosen.cases = chosen.cases or (every + ",micro" if chosen.full else SHORT_CASES)
    chosen.out = chosen.out or results / ("compare.json" if chosen.publish else "bench.json")
    if chosen.source:
        tell(chosen)
    return chosen


def tell(chosen: argparse.Namespace) -> None:
    """Make the text of results that are there already, and end."""
    results = json.loads(chosen.source.read_text())
    if chosen.add:
        add(results, json.loads(chosen.add.read_text()))
    if chosen.publish:
        save(results, chosen.out)
        document.publish(results, chosen.publish)
    else:
        print(document.whole(results))
    sys.exit(0)


def add(results: dict[str, Any], others: dict[str, Any]) -> None:
    """Put what was measured by another command, of whatever version, beside these results, and tell which."""
    for key in ("cpu", "cpus", "kernel", "python"):
        if results["machine"][key] != others["machine"][key]:
            sys.exit(f"measured on different machines: {key} is {results['machine'][key]} and {others['machine'][key]}")
    results["cases"] |= others["cases"]
    results["micro"] = results.get("micro", {}) | others.get("micro", {})
    told = {key: others[key] for key in ("versions", "command", "rounds")}
    names = [*others["cases"], *(["micro"] if others.get("micro") else [])]
    results.setdefault("added", []).append(told | {"cases": names, "when": others["machine"]["when"]})
    results["machine"]["others_busy"] = max(results["machine"]["others_busy"], others["machine"]["others_busy"])


def options_of(chosen: argparse.Namespace) -> Options:
    """Return the amounts of the form, replaced by those that were given."""
    base = FULL if chosen.full else SHORT
    return Options(
        messages=chosen.messages or base.messages,
        held=chosen.held or base.held,
        hold=chosen.hold or base.hold,
        large_directory=chosen.large_directory or base.large_directory,
        queued=tuple(map(int, chosen.queued.split(","))) if chosen.queued else base.queued,
        released=chosen.released or base.released,
    )


def compare(
    cases: Sequence[Case], peers: Sequence[Any], options: Options, chosen: argparse.Namespace, results: dict[str, Any]
) -> None:
    """Fill `results`."""
    present = [peer for peer in peers if not peer.missing()]
    work: list[tuple[Case, list[Job]]] = []
    for case in cases:
        jobs = case.jobs(present, options)
        work.append((case, [job for job in jobs if not job.missing]))
        results["cases"][case.name] = {
            "title": case.title,
            "unit": case.unit,
            "promises": {job.label: job.peer.promise for job in jobs if job.label == job.peer.name},
            "missing": {job.label: job.missing for job in jobs if job.missing},
            "samples": {job.label: [] for job in jobs if not job.missing},
        }
    total = sum(len(jobs) * min(chosen.rounds, case.rounds or chosen.rounds) for case, jobs in work)
    done = 0
    begun = time.monotonic()
    for round_number in range(chosen.rounds):
        for case, jobs in work:
            if case.rounds and round_number >= case.rounds:
                continue
            turn = round_number % max(len(jobs), 1)
            for job in jobs[turn:] + jobs[:turn]:
                done += 1
                left = (time.monotonic() - begun) / done * (total - done) / 60
                head = f"[{done}/{total}, {left:.0f} min left] round {round_number + 1} {case.name:10} {job.label:16}"
                print(head, end=" ", flush=True)
                sample = taken(job)
                results["cases"][case.name]["samples"][job.label].append(sample)
                print(sample.get("failed") or brief(sample), flush=True)
        save(results, chosen.out)


def taken(job: Job) -> dict[str, Any]:
    """Take the sample, or say why there is none."""
    try:
        return job.sample()
    except (Trouble, OSError, ValueError, subprocess.SubprocessError) as trouble:
        return {"failed": str(trouble) or repr(trouble)}


def brief(sample: dict[str, Any]) -> str:
    """Return a line that shows the progress."""
    if "cpu_us" in sample:
        return f"{sample['cpu_us']:8,.0f} µs {sample['per_second']:8,.0f}/s"
    if "levels" in sample:
        return ", ".join(f"{each['queued']:,}: {each['cpu_us']:,.0f} µs" for each in sample["levels"])
    if "points" in sample:
        return f"{sample['octets_each']:.1f} octets a session"
    if "left_share" in sample:
        return f"{sample['sessions']:,} stay, {sample['rss_kib']:.1f} KiB each, {sample['left_share']:.0%} left behind"
    return f"{sample['sessions']:,} held, {sample['rss_kib']:.1f} KiB each, p99 late {sample['loaded_ms'].get('p99', 0):.1f} ms"


def save(results: dict[str, Any], target: Path) -> None:
    """Write the JSON."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
