"""The comparison's results as text: the part of docs/performance.md between two marks, and the same on the terminal.

Pure but for `publish`. What stands outside the marks is written by people and is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loadtest.report import Range, ratios, table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BEGIN = "<!-- figures: written by `python -m loadtest.compare --publish`, not by hand -->"
END = "<!-- end of figures -->"
CLIENT_BUSY = 0.85
Results = dict[str, Any]
Samples = list[dict[str, Any] | None]

METHOD = """\
Every sample starts its server afresh on 127.0.0.1, sends a tenth of the messages to warm it, waits until it is idle, and then lets
the client at it: smtp-source with 50 sessions where nothing else is said. **CPU a message** is user and system time of the
server's whole process tree, children that ended included, from before the client starts until the server is idle again and
nothing waits for delivery; client and next hop are not counted. The rounds are interleaved: in each round every server does every
piece of work once, in turns. Ratios are taken within a round. Figures are medians, with the least and the greatest behind.

Client and server share the CPUs, so messages a second say little; what an operator pays for is CPU time. † marks samples whose client
was more than 85 % busy on its core: there the rate is the client's.

mailmoat runs with policy, recipient directory, log and figures on, as delivered. Postfix has a configuration and a queue of its own,
its own log file, no TLS, no reverse lookups, no limits on clients, `in_flow_delay = 0`, and everything else by default; where nothing is
relayed it puts messages into its hold queue. aiosmtpd runs on uvloop and throws messages away. Haraka runs one process a CPU with its disk queue.
"""


def whole(results: Results) -> str:
    """Everything between the marks."""
    parts = [_machine(results), "## Against the aims\n\n" + _aims(results), "## Method\n\n" + METHOD]
    parts += [f"## {case['title']}\n\n{_section(name, case)}" for name, case in results["cases"].items()]
    if "micro" in results:
        parts.append("## Parts, each against a yardstick in Python\n\n" + micro_table(results["micro"]))
    return "\n".join(parts)


def publish(results: Results, target: Path) -> None:
    """Write the figures into the document, between its marks; a new document when there is none."""
    old = target.read_text() if target.exists() else f"# Performance\n\n{BEGIN}\n{END}\n"
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        before, after = old.rstrip() + "\n\n", "\n"
    target.write_text(f"{before}{BEGIN}\n{whole(results)}\n{END}{after}")


def micro_table(micro: dict[str, Any]) -> str:
    """Time a unit, and the ratio to the yardstick."""
    rows = []
    for each in micro.values():
        ratio = Range.of(ratios(each["yardstick_ns"], each["ns"]))
        cost, yardstick = Range.of(each["ns"]), Range.of(each["yardstick_ns"])
        if cost and ratio and yardstick:
            rows.append([each["what"], f"{cost.median:,.0f}", each["yardstick"], f"{yardstick.median:,.0f}", ratio.text(1)])
    return table(["what", "ns", "yardstick", "ns", "times faster"], rows)


def column(case: dict[str, Any], label: str, value: Callable[[dict[str, Any]], float | None]) -> list[float | None]:
    """One figure of every round; None where there was no sample."""
    samples: Samples = case["samples"].get(label, [])
    return [None if sample is None or "failed" in sample else value(sample) for sample in samples]


def _present(values: list[float | None]) -> Range | None:
    return Range.of(value for value in values if value is not None)


def _cpu(case: dict[str, Any], label: str) -> list[float | None]:
    return column(case, label, lambda sample: sample["cpu_us"])


def _machine(results: Results) -> str:
    machine = results["machine"]
    versions = ", ".join(results["versions"].values())
    sync = machine["fdatasync_ms"]
    text = (
        f"Measured {machine['when']} on {machine['cpus']} × {machine['cpu']}, {machine['memory_gib']} GiB, Linux {machine['kernel']}, "
        f"{machine['filesystem']}, `fdatasync` of 4 KiB {sync['p50']:.2f} ms (p99 {sync['p99']:.2f}), Python {machine['python']}; {versions}. "
        f"{results['rounds']} rounds, {results['options']['messages']:,} messages. Made with `{results['command']}`.\n"
    )
    if machine["others_busy"] > results["busy_limit"]:
        text += f"\n**The machine was not quiet: others used {machine['others_busy']} cores when this began.**\n"
    return text


def _section(name: str, case: dict[str, Any]) -> str:
    body = {"held": _held, "queued": _queued}.get(name, _plain)(case)
    notes = [f"* {label}: {reason}" for label, reason in case["missing"].items()]
    for label, samples in case["samples"].items():
        notes += [f"* {label}, round {at + 1}: {each['failed']}" for at, each in enumerate(samples) if each and "failed" in each]
    return body + ("\n" + "\n".join(notes) + "\n" if notes else "")


def _plain(case: dict[str, Any]) -> str:
    labels = [label for label in case["samples"] if any(_cpu(case, label))]
    rows = []
    for label in labels:
        rate = _present(column(case, label, lambda sample: sample["per_second"]))
        busy = _present(column(case, label, lambda sample: sample["client_busy"]))
        cost = _present(_cpu(case, label))
        against = Range.of(ratios(_cpu(case, label), _cpu(case, labels[0])))
        if rate and cost and against and busy:
            mark = " †" if busy.median > CLIENT_BUSY else ""
            first = case["promises"].get(label, "")
            rows.append([label, first, cost.text(), against.text(2) if label != labels[0] else "1", rate.text() + mark])
    return table(["server", "250 means", f"CPU µs a {case['unit']}", f"times {labels[0]}'s" if labels else "", "a second"], rows)


def _held(case: dict[str, Any]) -> str:
    rows = []
    for label in case["samples"]:
        figures = [
            _present(column(case, label, lambda sample, key=key: sample[key]))
            for key in ("sessions", "rss_kib", "pss_kib", "kernel_kib", "rate_held", "cpu_held", "broken")
        ]
        if any(figure is None for figure in figures):
            continue
        sessions, rss, pss, kernel, rate, cost, broken = figures
        rows.append([
            label,
            f"{sessions.median:,.0f}",
            rss.text(1),
            pss.text(1),
            kernel.text(1),
            _lateness(case, label, "idle_ms"),
            _lateness(case, label, "loaded_ms"),
            rate.text(2),
            cost.text(2),
            f"{broken.median:.0f}",
        ])
    heads = ["server", "sessions", "RSS KiB each", "PSS KiB each", "kernel KiB each, both ends"]
    heads += ["late ms idle: least / p50 / p99 / most", "late ms loaded", "other mail's rate", "its CPU", "broken"]
    return table(heads, rows)


def _lateness(case: dict[str, Any], label: str, key: str) -> str:
    parts = [
        _present(column(case, label, lambda sample, share=share: sample[key].get(share))) for share in ("min", "p50", "p99", "max")
    ]
    return " / ".join(f"{part.median:.1f}" if part else "-" for part in parts)


def _queued(case: dict[str, Any]) -> str:
    rows = []
    for samples in case["samples"].values():
        levels = [level for sample in samples if sample and "levels" in sample for level in sample["levels"]]
        for level in levels:
            more = level["queued"] - levels[0]["queued"]
            rows.append([
                f"{level['queued']:,}",
                f"{level['cpu_us']:,.0f}",
                f"{level['cpu_us'] / levels[0]['cpu_us']:.2f}",
                f"{level['per_second']:,.0f}",
                f"{level['background']:.1%}",
                f"{(level['memory'] - levels[0]['memory']) / more:,.0f}" if more else "-",
            ])
    heads = ["queued", "CPU µs a message", "times the first", "a second", "share of a core at rest", "octets of memory each more message takes"]
    return table(heads, rows)


def _aims(results: Results) -> str:
    cases, rows = results["cases"], []

    def judge(what: str, must: str, aim: str, values: list[float] | None, good: Callable[[float], bool], digits: int = 1) -> None:
        found = Range.of(values or [])
        if found:
            rows.append([what, must, aim, found.text(digits), "met" if good(found.median) else "**not met**"])

    for name, must, aim in (("new", 5, 10), ("reused", 6, 10), ("relay", 6, 12)):
        if name in cases:
            values = ratios(_cpu(cases[name], "postfix"), _cpu(cases[name], "mailmoat"))
            what = f"{cases[name]['title']}: Postfix's CPU as a multiple of ours"
            judge(what, f"≥ {must}", f"≥ {aim}", values, lambda value, must=must: value >= must)
    if "held" in cases:
        held = cases["held"]

        def of(value: Callable[[dict[str, Any]], float]) -> list[float]:
            return [each for each in column(held, "mailmoat", value) if each is not None]

        judge("Held session, KiB RSS", "≤ 4", "≤ 2", of(lambda each: each["rss_kib"]), lambda value: value <= 4)  # noqa: PLR2004
        judge("Lateness p99 idle, ms", "≤ 5", "≤ 2", of(lambda each: each["idle_ms"]["p99"]), lambda value: value <= 5)  # noqa: PLR2004
        judge("Lateness p99 loaded, ms", "≤ 20", "≤ 10", of(lambda each: each["loaded_ms"]["p99"]), lambda value: value <= 20)  # noqa: PLR2004
        least = of(lambda each: min(each["idle_ms"]["min"], each["loaded_ms"]["min"]))
        judge("Least lateness, ms (never early)", "≥ 0", "≥ 0", least, lambda _: min(least) >= 0, 2)
        judge("Other mail while held, rate", "≥ 0.9", "≥ 0.97", of(lambda each: each["rate_held"]), lambda value: value >= 0.9, 2)  # noqa: PLR2004
        judge("Other mail while held, CPU a message", "≤ 1.1", "", of(lambda each: each["cpu_held"]), lambda value: value <= 1.1, 2)  # noqa: PLR2004
    if "micro" in results and "wheel" in results["micro"]:
        wheel = results["micro"]["wheel"]["ns"]
        judge("Wheel, schedule + cancel from Python, ns", "≤ 300", "≤ 150", wheel, lambda value: value <= 300, 0)  # noqa: PLR2004
    if "workers" in cases:
        one, two = ([*column(cases["workers"], label, lambda each: each["per_second"])] for label in ("1 worker", "2 workers"))
        judge("2 workers against 1, rate (client on the same CPUs)", "≥ 1.7", "≥ 1.9", ratios(two, one), lambda value: value >= 1.7, 2)  # noqa: PLR2004
        one, two = _cpu(cases["workers"], "1 worker"), _cpu(cases["workers"], "2 workers")
        capacity = [2 * ratio for ratio in ratios(one, two)]
        judge("2 workers against 1 by CPU a message, a core for each", "≥ 1.7", "≥ 1.9", capacity, lambda value: value >= 1.7, 2)  # noqa: PLR2004
    if "directory" in cases and len(cases["directory"]["samples"]) > 1:
        small, *_, large = cases["directory"]["samples"]
        growth = ratios(_cpu(cases["directory"], large), _cpu(cases["directory"], small))
        judge(f"CPU a message, {large} against {small}", "≤ 1.15", "", growth, lambda value: value <= 1.15, 2)  # noqa: PLR2004
    if "queued" in cases:
        levels = [level for sample in cases["queued"]["samples"].get("mailmoat", []) if sample for level in sample.get("levels", [])]
        if len(levels) > 1:
            what = f"CPU a message, {levels[-1]['queued']:,} queued against {levels[0]['queued']:,}"
            judge(what, "≤ 1.15", "", [levels[-1]["cpu_us"] / levels[0]["cpu_us"]], lambda value: value <= 1.15, 2)  # noqa: PLR2004
    return table(["what", "must", "aim", "measured", ""], rows)
