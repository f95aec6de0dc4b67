"""The comparison's results as text: the part of docs/performance.md between two marks, and the same on the terminal.

Pure but for `publish`. What stands outside the marks is written by people and is kept.
"""

from __future__ import annotations

import re
from collections import Counter
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from loadtest.compare import tls
from loadtest.compare.aims import Results, column, cpu, verdicts
from loadtest.processes import growth
from loadtest.report import Range, ratios, table

if TYPE_CHECKING:
    from pathlib import Path

BEGIN = "<!-- results: written by `python -m loadtest.compare --publish`, not by hand -->"
END = "<!-- end of results -->"
CLIENT_BUSY = 0.85

METHOD = """\
Every sample starts its server afresh on 127.0.0.1, sends a tenth of the messages to warm it, waits until it is idle, and then starts
the client: smtp-source with 50 sessions unless stated otherwise. **CPU a message** is user and system time of the
server's whole process tree, children that ended included, from before the client starts until the server is idle again and
nothing waits for delivery; client and next hop are not counted. The rounds are interleaved: in each round every server does every
piece of work once, in turns. Ratios are taken within a round. Values are medians, followed by the lowest and the highest.

Client and server share the CPUs, so messages a second say little; what an administrator pays for is CPU time. † marks samples whose client
was more than 85 % busy on its core: there the rate is the client's.

mailmoat runs with policy, recipient directory, log and metrics on, as delivered. Postfix has a configuration and a queue of its own,
its own log file, no TLS, no reverse lookups, no limits on clients, `in_flow_delay = 0`, and everything else by default; where nothing is
relayed it puts messages into its hold queue. aiosmtpd runs on uvloop and discards messages. Haraka runs one process a CPU with its disk queue.

A worker "of 0.3 core" is held to that share of a CPU by a control group, so that the client is not the limit. For Sender ID the messages come
from domains with a record of their own each; every name is asked for during the sample, and NOOP every 10 ms on a connection beside it
shows how long others wait, the client's own time included.
"""


def whole(results: Results) -> str:
    """Return the text between the marks."""
    parts = [_machine(results), "## Against the aims\n\n" + verdicts(results), "## Method\n\n" + METHOD]
    parts += [f"## {case['title']}\n\n{_section(name, case)}" for name, case in results["cases"].items()]
    if "micro" in results:
        parts.append("## Parts, each against a yardstick in Python\n\n" + micro_table(results["micro"]))
    return "\n".join(parts)


def publish(results: Results, target: Path) -> None:
    """Write the results into the document, between its marks; a new document when there is none."""
    old = target.read_text() if target.exists() else f"# Performance\n\n{BEGIN}\n{END}\n"
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        before, after = old.rstrip() + "\n\n", "\n"
    target.write_text(f"{before}{BEGIN}\n{whole(results)}\n{END}{after}")


def micro_table(micro: dict[str, Any]) -> str:
    """Return the table of time per unit and of its ratio to the yardstick."""
    rows = []
    for each in micro.values():
        ratio = Range.of(ratios(each["yardstick_ns"], each["ns"]))
        cost, yardstick = Range.of(each["ns"]), Range.of(each["yardstick_ns"])
        if cost and ratio and yardstick:
            rows.append(
                [each["what"], f"{cost.median:,.0f}", each["yardstick"], f"{yardstick.median:,.0f}", ratio.text(1)]
            )
    return table(["what", "ns", "yardstick", "ns", "times faster"], rows)


def _present(values: list[float | None]) -> Range | None:
    return Range.of(value for value in values if value is not None)


def _machine(results: Results) -> str:
    machine = results["machine"]
    versions = ", ".join(results["versions"].values())
    sync = machine["fdatasync_ms"]
    text = (
        f"Measured {machine['when']} on {machine['cpus']} CPUs ({machine['cpu']}), {machine['memory_gib']} GiB, Linux {machine['kernel']}, "
        f"{machine['filesystem']}, `fdatasync` of 4 KiB {sync['p50']:.2f} ms (p99 {sync['p99']:.2f}), Python {machine['python']}; {versions}. "
        f"{results['rounds']} rounds, {results['options']['messages']:,} messages. Made with `{results['command']}`.\n"
    )
    for other in results.get("added", ()):
        text += (
            f"\n{', '.join(other['cases'])}: measured {other['when']}, {', '.join(other['versions'].values())}, rounds: {other['rounds']}, "
            f"with `{other['command']}`.\n"
        )
    if machine["others_busy"] > results["busy_limit"]:
        text += f"\n**The machine was not quiet: others used {machine['others_busy']} cores when this began.**\n"
    return text


def _section(name: str, case: dict[str, Any]) -> str:
    body = {
        "held": _held,
        "queued": _queued,
        "leak": _leak,
        "senderid": _sender_id,
        "dns_lists": _dns_lists,
        "tls": _tls,
    }.get(name, _plain)(case)
    notes = [f"* {label}: {reason}" for label, reason in case["missing"].items()]
    for label, samples in case["samples"].items():
        failed = Counter(IDS.sub("...", sample["failed"]) for sample in samples if "failed" in sample)
        notes += [f"* {label}, in {count} of {len(samples)} rounds: {reason}" for reason, count in failed.items()]
    return body + ("\n" + "\n".join(notes) + "\n" if notes else "")


def _plain(case: dict[str, Any]) -> str:
    labels = [label for label in case["samples"] if any(cpu(case, label))]
    rows = []
    for label in labels:
        rate = _present(column(case, label, lambda sample: sample["per_second"]))
        busy = _present(column(case, label, lambda sample: sample["client_busy"]))
        cost = _present(cpu(case, label))
        against = Range.of(ratios(cpu(case, label), cpu(case, labels[0])))
        if rate and cost and against and busy:
            mark = " †" if busy.median > CLIENT_BUSY else ""
            first = case["promises"].get(label, "")
            rows.append([label, first, cost.text(), against.text(2) if label != labels[0] else "1", rate.text() + mark])
    return table(
        ["server", "250 means", f"CPU µs a {case['unit']}", f"times {labels[0]}'s" if labels else "", "a second"], rows
    )


def _held(case: Results) -> str:
    rows = []
    for label in case["samples"]:
        found = {key: _present(column(case, label, itemgetter(key))) for key, _, _ in HELD}
        whole = [f"{figure.text(digits)}" for key, _, digits in HELD if (figure := found[key])]
        if len(whole) == len(HELD):
            rows.append([label, *whole, _lateness(case, label, "idle_ms"), _lateness(case, label, "loaded_ms")])
    late = "least / p50 / p99 / most"
    return table(
        [
            "server",
            *(head for _, head, _ in HELD),
            f"late on an idle server, ms: {late}",
            f"late on a loaded one, ms: {late}",
        ],
        rows,
    )


IDS = re.compile(r"[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}\.[0-9]+")
"""What tells one message of Haraka's from another, and nothing to the reader."""
HELD = (
    ("sessions", "sessions", 0),
    ("rss_kib", "KiB RSS each", 1),
    ("pss_kib", "KiB PSS each", 1),
    ("kernel_kib", "KiB of kernel memory each, both ends", 1),
    ("rate_held", "other mail's rate, of the free one", 2),
    ("cpu_held", "its CPU a message", 2),
    ("broken", "broken sessions", 0),
)
"""Key in a sample, head of its column, digits."""


def _lateness(case: Results, label: str, key: str) -> str:
    spreads = [spread for spread in column(case, label, itemgetter(key)) if isinstance(spread, dict)]
    parts = [_present([spread.get(share) for spread in spreads]) for share in ("min", "p50", "p99", "max")]
    return " / ".join(f"{part.median:.1f}" if part else "-" for part in parts)


def _sender_id(case: dict[str, Any]) -> str:
    rows = []
    for label in case["samples"]:
        cost, against = _present(cpu(case, label)), Range.of(ratios(cpu(case, label), cpu(case, "off")))
        rate = _present(column(case, label, lambda sample: sample["per_second"]))
        asked = _present(column(case, label, lambda sample: sample.get("questions")))
        if cost and against and rate:
            late = _lateness(case, label, "noop_ms")
            rows.append([label, cost.text(), against.text(2), rate.text(), late, asked.text() if asked else "-"])
    late = "NOOP beside it, ms: least / p50 / p99 / most"
    return table(["Sender ID", "CPU µs a message", "times without", "a second", late, "DNS questions"], rows)


def _dns_lists(case: dict[str, Any]) -> str:
    rows = []
    for label in case["samples"]:
        cost, against = _present(cpu(case, label)), Range.of(ratios(cpu(case, label), cpu(case, "off")))
        rate = _present(column(case, label, lambda sample: sample["per_second"]))
        beside = _present(column(case, label, lambda sample: sample.get("beside")))
        if cost and against and rate:
            rows.append([label, cost.text(), against.text(2), rate.text(), beside.text(2) if beside else "-"])
    return table(["lists", "CPU µs a message", "times without", "a second", "of the rate before a list died"], rows)


def _tls(case: dict[str, Any]) -> str:
    whole, memory = [], []
    labels = [label.removeprefix("mailmoat: ") for label in case["samples"] if label.startswith("mailmoat: ")]
    for label in labels:
        ours, theirs = (f"{peer}: {label}" for peer in ("mailmoat", "postfix"))
        own, other = _present(cpu_there(case, ours)), _present(cpu_there(case, theirs))
        if label in {stays for stays, *_ in tls.STAYING}:
            memory.append([label, *_staying(case, ours), *_staying(case, theirs)])
        elif own:
            ratio = Range.of(ratios(cpu_there(case, ours), cpu_there(case, theirs)))
            whole.append([label, own.text(), other.text() if other else "-", ratio.text(2) if ratio else "-"])
    for label, *_ in tls.MESSAGES:
        added = [_present(tls.differences(case["samples"], peer, label)) for peer in ("mailmoat", "postfix")]
        if all(added):
            whole.append([f"{label}: what TLS adds", *(each.text() for each in added if each), "-"])
    heads = ["sessions", "KiB RSS each", "left when they are gone"]
    costs = table(["work", "mailmoat, CPU µs", "Postfix, CPU µs", "of Postfix's"], whole)
    return costs + "\n" + table(["connection that stays", *heads, *(f"Postfix: {head}" for head in heads)], memory)


def _staying(case: dict[str, Any], label: str) -> list[str]:
    columns = (("sessions", 0), ("rss_kib", 1), ("left_share", 2))
    found = [(_present(column(case, label, itemgetter(key))), digits) for key, digits in columns]
    return [each.text(digits) if each else "-" for each, digits in found]


def cpu_there(case: dict[str, Any], label: str) -> list[float | None]:
    """Return the CPU microseconds of each sample; None where memory was measured."""
    return column(case, label, lambda sample: sample.get("cpu_us"))


def _queued(case: dict[str, Any]) -> str:
    rows = []
    for samples in case["samples"].values():
        levels = [level for sample in samples if sample and "levels" in sample for level in sample["levels"]]
        for level in levels:
            more = level["queued"] - levels[0]["queued"]
            rows.append(
                [
                    f"{level['queued']:,}",
                    f"{level['cpu_us']:,.0f}",
                    f"{level['cpu_us'] / levels[0]['cpu_us']:.2f}",
                    f"{level['per_second']:,.0f}",
                    f"{level['background']:.1%}",
                    f"{growth(levels[0]['memory'], level['memory']) / more:,.0f}" if more else "-",
                ]
            )
    heads = [
        "queued",
        "CPU µs a message",
        "times the first",
        "a second",
        "share of a core at rest",
        "octets of memory each more message takes",
    ]
    return table(heads, rows)


def _leak(case: Results) -> str:
    rows = []
    for label, samples in case["samples"].items():
        for sample in samples:
            if "points" in sample:
                first, last = sample["points"][len(sample["points"]) // 4], sample["points"][-1]
                ends = [f"{memory / 2**20:,.1f} at {sessions:,}" for sessions, memory in (first, last)]
                rows.append([label, *ends, f"{max(0.0, sample['octets_each']):+.2f}"])
    return table(["server", "MiB after a quarter", "MiB at the end", "octets a session, by the slope between"], rows)
