"""What mailmoat must reach and aims at, and where each figure stands in the results of a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loadtest.compare import tls
from loadtest.quota import SHARE
from loadtest.report import Range, ratios, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Results = dict[str, Any]
Values = list[float]


def column(case: Results, label: str, value: Callable[[Results], Any]) -> list[Any]:
    """Return one value of each round; None where there was no sample."""
    samples = case["samples"].get(label, [])
    return [None if sample is None or "failed" in sample else value(sample) for sample in samples]


def cpu(case: Results, label: str) -> list[float | None]:
    """Return the CPU microseconds per unit of each sample."""
    return column(case, label, lambda sample: sample["cpu_us"])


@dataclass(frozen=True)
class Aim:
    """One promise; `values` finds what was measured, a figure a round, or nothing."""

    what: str
    must: float
    aim: float
    values: Callable[[Results], Values]
    digits: int = 1
    at_least: bool = False
    every: bool = False
    """All rounds have to meet it, and not their median."""

    def row(self, results: Results) -> list[str] | None:
        """Return the line of the table; None if it was not measured."""
        found = Range.of(self.values(results))
        if found is None:
            return None
        worst = found.low if self.at_least else found.high
        figure = worst if self.every else found.median
        met = figure >= self.must if self.at_least else figure <= self.must
        sign = "≥" if self.at_least else "≤"
        wanted = [f"{sign} {self.must:g}", f"{sign} {self.aim:g}"]
        return [self.what, *wanted, found.text(self.digits), "met" if met else "**not met**"]


def verdicts(results: Results) -> str:
    """Return the table of all aims that were measured."""
    rows = [row for aim in AIMS if (row := aim.row(results))]
    return table(["what", "must", "aim", "measured", ""], rows)


def _against_postfix(name: str) -> Callable[[Results], Values]:
    def values(results: Results) -> Values:
        case = results["cases"].get(name)
        return ratios(cpu(case, "postfix"), cpu(case, "mailmoat")) if case else []

    return values


def _held(value: Callable[[Results], float]) -> Callable[[Results], Values]:
    def values(results: Results) -> Values:
        case = results["cases"].get("held")
        found = column(case, "mailmoat", value) if case else []
        return [each for each in found if each is not None]

    return values


def _wheel(results: Results) -> Values:
    found: Values = results.get("micro", {}).get("wheel", {}).get("ns", [])
    return found


def _workers_rate(results: Results) -> Values:
    case = results["cases"].get("workers", {"samples": {}})
    labels = (f"1 worker of {SHARE} core each", f"2 workers of {SHARE} core each")
    one, two = (column(case, label, lambda each: each["per_second"]) for label in labels)
    return ratios(two, one)


def _directory(results: Results) -> Values:
    case = results["cases"].get("directory", {"samples": {}})
    labels = list(case["samples"])
    return ratios(cpu(case, labels[-1]), cpu(case, labels[0])) if labels else []


def _loop_delay(results: Results) -> Values:
    case = results["cases"].get("senderid", {"samples": {}})
    return _there(column(case, "on, name server answers in 20 ms", lambda each: each["noop_ms"]["p99"]))


def _beside_waiting(results: Results) -> Values:
    case = results["cases"].get("senderid", {"samples": {}})
    return _there(column(case, "on, name server dead", lambda each: each["beside"]))


def _beside_dead_list(results: Results) -> Values:
    case = results["cases"].get("dns_lists", {"samples": {}})
    return _there(column(case, "one of two lists dead", lambda each: each["beside"]))


def _tls(label: str) -> Callable[[Results], Values]:
    def values(results: Results) -> Values:
        case = results["cases"].get("tls", {"samples": {}})
        return ratios(_tls_cpu(case, f"mailmoat: {label}"), _tls_cpu(case, f"postfix: {label}"))

    return values


def _tls_cpu(case: Results, label: str) -> list[float | None]:
    return column(case, label, lambda sample: sample.get("cpu_us"))


def _tls_adds(results: Results) -> Values:
    samples = results["cases"].get("tls", {"samples": {}})["samples"]
    return ratios(tls.differences(samples, "mailmoat", "4 KiB"), tls.differences(samples, "postfix", "4 KiB"))


def _tls_adds_us(results: Results) -> Values:
    samples = results["cases"].get("tls", {"samples": {}})["samples"]
    return _there(tls.differences(samples, "mailmoat", "4 KiB"))


def _tls_memory(label: str, key: str) -> Callable[[Results], Values]:
    def values(results: Results) -> Values:
        case = results["cases"].get("tls", {"samples": {}})
        return _there(column(case, f"mailmoat: {label}", lambda sample: sample.get(key)))

    return values


def _there(values: Iterable[float | None]) -> Values:
    return [value for value in values if value is not None]


def _queued(results: Results) -> Values:
    samples = results["cases"].get("queued", {"samples": {}})["samples"].get("mailmoat", [])
    levels = [sample["levels"] for sample in samples if "levels" in sample]
    return [each["cpu_us"] / found[0]["cpu_us"] for found in levels for each in found[1:]]


def _leak(results: Results) -> Values:
    samples = results["cases"].get("leak", {"samples": {}})["samples"].get("mailmoat", [])
    return [sample["octets_each"] for sample in samples if "octets_each" in sample]


AIMS = (
    Aim("Accept 4 KiB, new connection: Postfix's CPU, times ours", 5, 10, _against_postfix("new"), at_least=True),
    Aim("Accept 4 KiB, reused: Postfix's CPU, times ours", 6, 10, _against_postfix("reused"), at_least=True),
    Aim("Accept 4 KiB, reused, and relay: Postfix's CPU, times ours", 12, 15, _against_postfix("relay"), at_least=True),
    Aim(
        "Accept 4 KiB, new, and relay: Postfix's CPU, times ours", 10, 12, _against_postfix("relay_new"), at_least=True
    ),
    Aim("Held session, KiB RSS", 4, 2, _held(lambda each: each["rss_kib"])),
    Aim("Lateness p99 on an idle server, ms", 5, 2, _held(lambda each: each["idle_ms"]["p99"])),
    Aim("Lateness p99 on a loaded server, ms", 20, 10, _held(lambda each: each["loaded_ms"]["p99"])),
    Aim(
        "Least lateness, ms: never early",
        0,
        0,
        _held(lambda each: min(each["idle_ms"]["min"], each["loaded_ms"]["min"])),
        digits=2,
        at_least=True,
        every=True,
    ),
    Aim(
        "Other mail's rate while sessions are held, of the free one",
        0.9,
        0.97,
        _held(lambda each: each["rate_held"]),
        digits=2,
        at_least=True,
    ),
    Aim(
        "Other mail's CPU a message meanwhile, of the free one",
        1.1,
        1.1,
        _held(lambda each: each["cpu_held"]),
        digits=2,
    ),
    Aim("Wheel: schedule and cancel from Python, ns", 300, 150, _wheel, digits=0),
    Aim("2 workers against 1: rate, client not the limit", 1.7, 1.9, _workers_rate, digits=2, at_least=True),
    Aim("CPU a message with a large directory, of that with a small one", 1.15, 1.15, _directory, digits=2),
    Aim("Sender ID, names answered in 20 ms: p99 of a NOOP meanwhile, ms", 15, 15, _loop_delay),
    Aim(
        "Sender ID, name servers dead: other mail's rate beside those who wait",
        0.9,
        1,
        _beside_waiting,
        digits=2,
        at_least=True,
    ),
    Aim("A list in the DNS is dead: rate of mail, of that before", 0.95, 1, _beside_dead_list, digits=2, at_least=True),
    Aim(
        "STARTTLS connection, full handshake, P-256: of Postfix's CPU",
        0.5,
        0.38,
        _tls("full handshake, P-256"),
        digits=2,
    ),
    Aim(
        "STARTTLS connection, full handshake, RSA-2048: of Postfix's CPU",
        0.6,
        0.48,
        _tls("full handshake, RSA-2048"),
        digits=2,
    ),
    Aim("STARTTLS connection, resumed: of Postfix's CPU", 0.5, 0.38, _tls("resumed, P-256"), digits=2),
    Aim("What TLS adds to 4 KiB: of what it adds to Postfix's CPU", 0.5, 0.3, _tls_adds, digits=2),
    Aim("What TLS adds to 4 KiB, CPU µs", 25, 12, _tls_adds_us),
    Aim("4 KiB in TLS: of Postfix's CPU", 0.17, 0.1, _tls("4 KiB, TLS"), digits=2),
    Aim("1 MiB in TLS: of Postfix's CPU", 0.17, 0.1, _tls("1 MiB, TLS"), digits=2),
    Aim("Idle session in TLS, KiB RSS", 12, 7, _tls_memory("idle session", "rss_kib")),
    Aim("Half-open handshake, KiB RSS", 12, 10, _tls_memory("half-open handshake", "rss_kib")),
    Aim("Unfinished ClientHello, KiB RSS", 24, 18, _tls_memory("unfinished ClientHello", "rss_kib")),
    Aim(
        "Memory of idle sessions in TLS that is kept when they are gone",
        0.1,
        0.05,
        _tls_memory("idle session", "left_share"),
        digits=2,
    ),
    Aim("CPU a message with a longer queue, of that with the shortest", 1.15, 1.15, _queued, digits=2, every=True),
    Aim("Memory that a session held and released leaves behind, octets", 1, 0, _leak, digits=2),
)
