"""The metrics of a server: what they are, where each lies in the shared memory, and their Prometheus text (format 0.0.4).

`DEFINITIONS` is the only truth: name, kind, meaning and label values are fixed here, and the index of a metric follows from
its place. Counting is one addition to an atomic cell; names are resolved at import (`index`), where a wrong one is a KeyError.
`render` never fails and reads only shared memory, so any process can call it while all others run or are dead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from mailmoat._native import Shared

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Definition(NamedTuple):
    """One metric; with a label it has one metric for each of its values. Two labels and their values have a comma between."""

    name: str
    kind: Literal["counter", "gauge"]
    meaning: str
    label: str = ""
    values: tuple[str, ...] = ("",)
    unit: int = 1
    """What is counted goes this many times into what is shown: 1000 where milliseconds are counted and seconds shown."""
    same: bool = False
    """All workers say the same thing: the largest is shown, not the sum."""


SCOPES: Final = ("pra", "mailfrom", "helo")
DIRECTORY_STATES: Final = ("current", "waiting", "refused")
STATUSES: Final = ("Pass", "Neutral", "SoftFail", "Fail", "None", "TempError", "PermError")

DEFINITIONS: Final = (
    Definition("mailmoat_sessions_total", "counter", "SMTP sessions begun."),
    Definition(
        "mailmoat_connections", "gauge", "Connections open now, and those that left while held, until the hold is over."
    ),
    Definition("mailmoat_messages_accepted_total", "counter", "Messages answered with 250 after the end of data."),
    Definition("mailmoat_octets_accepted_total", "counter", "Octets of the content of accepted messages."),
    Definition("mailmoat_replies_total", "counter", "Replies sent, by first digit.", "class", ("2", "3", "4", "5")),
    Definition(
        "mailmoat_recipients_refused_total",
        "counter",
        "Recipients refused: relaying, no such recipient, blocked by the administrator, directory not available.",
        "reason",
        ("relay", "unknown", "blocked", "directory"),
    ),
    Definition(
        "mailmoat_senderid_results_total",
        "counter",
        "Checks of senders: the purported responsible address by Sender ID, MAIL FROM and HELO by SPF.",
        "scope,status",
        tuple(f"{scope},{status}" for scope in SCOPES for status in STATUSES),
    ),
    Definition(
        "mailmoat_senderid_actions_total",
        "counter",
        "Messages that were not let through whole: refused, deferred, dropped, dropped for all but bypassed recipients.",
        "action",
        ("refused", "deferred", "dropped", "thinned"),
    ),
    Definition(
        "mailmoat_senderid_unchecked_total", "counter", "Messages from outside whose source address could not be told."
    ),
    Definition("mailmoat_held_sessions", "gauge", "Replies held in the tar pit now, of clients that left among them."),
    Definition("mailmoat_tarpit_holds_total", "counter", "Replies delayed by the tar pit."),
    Definition("mailmoat_tarpit_seconds_total", "counter", "Delay inflicted by the tar pit.", unit=1000),
    Definition("mailmoat_tarpit_shed_total", "counter", "Held sessions closed because the host held too many."),
    Definition("mailmoat_tarpit_session_limit_total", "counter", "Sessions closed because they used up their delay."),
    Definition("mailmoat_tarpit_disconnected_total", "counter", "Clients that left while held."),
    Definition(
        "mailmoat_attempts_total",
        "counter",
        "Recipients tried by delivery attempts, by outcome.",
        "outcome",
        ("delivered", "deferred", "failed"),
    ),
    Definition("mailmoat_queue_messages", "gauge", "Messages in the spool."),
    Definition("mailmoat_partitions_newer", "gauge", "Partitions of a later version, whose messages wait for it."),
    Definition("mailmoat_reports_total", "counter", "Non-delivery reports made."),
    Definition("mailmoat_agent_errors_total", "counter", "Policy agents that raised; the client got 451 4.3.0."),
    Definition("mailmoat_agent_timeouts_total", "counter", "Policy agents that were late; the client got 451 4.3.0."),
    Definition(
        "mailmoat_dns_questions_total", "counter", "Questions put to name servers; equal ones at a time are one."
    ),
    Definition("mailmoat_dns_cache_hits_total", "counter", "Questions answered from the cache."),
    Definition(
        "mailmoat_dns_failures_total",
        "counter",
        "Questions without an answer: not in time, the server failed, forged signatures, the message's budget is spent, "
        "not asked because the circuit is open, no domain name.",
        "reason",
        ("timeout", "servfail", "bogus", "budget", "broken", "malformed"),
    ),
    Definition(
        "mailmoat_dns_circuits_open",
        "gauge",
        "Zones and names that did not answer when last asked, and are left alone.",
    ),
    Definition("mailmoat_dns_servers_silent", "gauge", "Workers none of whose name servers answered when last asked."),
    Definition("mailmoat_accept_paused_total", "counter", "Times accepting was paused for want of file descriptors."),
    Definition(
        "mailmoat_connections_refused_total",
        "counter",
        "Connections refused: the server has too many, the source has too many.",
        "reason",
        ("server", "source"),
    ),
    Definition("mailmoat_idle_closed_total", "counter", "Idle connections closed because there were nearly too many."),
    Definition("mailmoat_sources_full_total", "counter", "Connections whose source found no place to be counted in."),
    Definition("mailmoat_directory_entries", "gauge", "Entries of the recipient directory.", same=True),
    Definition(
        "mailmoat_directory_age_seconds", "gauge", "Since the recipient file in force was last written.", same=True
    ),
    Definition(
        "mailmoat_directory_state",
        "gauge",
        "1 for how the recipient file is: in force, changed and perhaps not finished, refused with an older one in force.",
        "state",
        DIRECTORY_STATES,
    ),
    Definition("mailmoat_spool_errors_total", "counter", "Spool operations that failed."),
    Definition("mailmoat_log_lines_lost_total", "counter", "Lines of the log that its reader did not take."),
    Definition("mailmoat_worker_restarts_total", "counter", "Workers started again after they died."),
    Definition("mailmoat_workers_wanted", "gauge", "Workers the supervisor keeps running."),
    Definition("mailmoat_workers_ready", "gauge", "Workers that accept connections."),
    Definition(
        "mailmoat_workers_stressed", "gauge", "Workers that close idle connections, for there are nearly too many."
    ),
    Definition("mailmoat_spools_healthy", "gauge", "Workers whose spool takes messages."),
    Definition("mailmoat_directories_ok", "gauge", "Workers that can tell which recipients exist, or need not."),
)


def _metrics() -> Iterator[tuple[Definition, str]]:
    """Every metric in the order of its index: counters first, as `Shared` wants them."""
    for kind in ("counter", "gauge"):
        for definition in DEFINITIONS:
            if definition.kind == kind:
                yield from ((definition, value) for value in definition.values)


def _sample(definition: Definition, value: str) -> str:
    pairs = zip(definition.label.split(","), value.split(","), strict=True)
    labels = ",".join(f'{label}="{text}"' for label, text in pairs)
    return f"{definition.name}{{{labels}}}" if definition.label else definition.name


_INDEXES: Final = {(definition.name, value): index for index, (definition, value) in enumerate(_metrics())}


def index(name: str, value: str = "") -> int:
    """Index of a metric by its metric's name and label value; KeyError when there is none."""
    return _INDEXES[name, value]


SESSIONS: Final = index("mailmoat_sessions_total")
CONNECTIONS: Final = index("mailmoat_connections")
MESSAGES_ACCEPTED: Final = index("mailmoat_messages_accepted_total")
OCTETS_ACCEPTED: Final = index("mailmoat_octets_accepted_total")
REPLIES: Final = tuple((int(digit), index("mailmoat_replies_total", digit)) for digit in "2345")
RECIPIENTS_REFUSED: Final = {
    reason: index("mailmoat_recipients_refused_total", reason)
    for reason in ("relay", "unknown", "blocked", "directory")
}
SENDERID_RESULTS: Final = {
    (scope, status): index("mailmoat_senderid_results_total", f"{scope},{status}")
    for scope in SCOPES
    for status in STATUSES
}
SENDERID_ACTIONS: Final = {
    action: index("mailmoat_senderid_actions_total", action) for action in ("refused", "deferred", "dropped", "thinned")
}
SENDERID_UNCHECKED: Final = index("mailmoat_senderid_unchecked_total")
HELD_SESSIONS: Final = index("mailmoat_held_sessions")
TARPIT_HOLDS: Final = index("mailmoat_tarpit_holds_total")
TARPIT_TIME: Final = index("mailmoat_tarpit_seconds_total")
TARPIT_SHED: Final = index("mailmoat_tarpit_shed_total")
TARPIT_SESSION_LIMIT: Final = index("mailmoat_tarpit_session_limit_total")
TARPIT_DISCONNECTED: Final = index("mailmoat_tarpit_disconnected_total")
ATTEMPTS: Final = {
    outcome: index("mailmoat_attempts_total", outcome) for outcome in ("delivered", "deferred", "failed")
}
QUEUE_MESSAGES: Final = index("mailmoat_queue_messages")
PARTITIONS_NEWER: Final = index("mailmoat_partitions_newer")
REPORTS: Final = index("mailmoat_reports_total")
AGENT_ERRORS: Final = index("mailmoat_agent_errors_total")
AGENT_TIMEOUTS: Final = index("mailmoat_agent_timeouts_total")
DNS_QUESTIONS: Final = index("mailmoat_dns_questions_total")
DNS_CACHE_HITS: Final = index("mailmoat_dns_cache_hits_total")
DNS_FAILURES: Final = {
    reason: index("mailmoat_dns_failures_total", reason)
    for reason in ("timeout", "servfail", "bogus", "budget", "broken", "malformed")
}
DNS_CIRCUITS_OPEN: Final = index("mailmoat_dns_circuits_open")
DNS_SERVERS_SILENT: Final = index("mailmoat_dns_servers_silent")
ACCEPT_PAUSED: Final = index("mailmoat_accept_paused_total")
CONNECTIONS_REFUSED: Final = {
    reason: index("mailmoat_connections_refused_total", reason) for reason in ("server", "source")
}
IDLE_CLOSED: Final = index("mailmoat_idle_closed_total")
SOURCES_FULL: Final = index("mailmoat_sources_full_total")
DIRECTORY_ENTRIES: Final = index("mailmoat_directory_entries")
DIRECTORY_AGE: Final = index("mailmoat_directory_age_seconds")
DIRECTORY_STATE: Final = {state: index("mailmoat_directory_state", state) for state in DIRECTORY_STATES}
SPOOL_ERRORS: Final = index("mailmoat_spool_errors_total")
LOG_LINES_LOST: Final = index("mailmoat_log_lines_lost_total")
WORKER_RESTARTS: Final = index("mailmoat_worker_restarts_total")
WORKERS_WANTED: Final = index("mailmoat_workers_wanted")
WORKERS_READY: Final = index("mailmoat_workers_ready")
WORKERS_STRESSED: Final = index("mailmoat_workers_stressed")
SPOOLS_HEALTHY: Final = index("mailmoat_spools_healthy")
DIRECTORIES_OK: Final = index("mailmoat_directories_ok")


def share(workers: int, sources: int = 65_536) -> Shared:
    """Memory for these metrics, before the fork; OSError when it is short."""
    samples: dict[str, list[str]] = {"counter": [], "gauge": []}
    for definition, value in _metrics():
        samples[definition.kind].append(_sample(definition, value))
    return Shared(workers, samples["counter"], sources=sources, gauges=samples["gauge"])


class Metrics:
    """The metrics of one slot."""

    __slots__ = ("_add", "_set", "shared", "slot")

    def __init__(self, shared: Shared, slot: int) -> None:
        self.shared = shared
        self.slot = slot
        self._add = shared.add
        self._set = shared.set

    def add(self, metric: int, n: int = 1) -> None:
        """Count `n` more; a gauge may take a negative number."""
        self._add(self.slot, metric, n)

    def set(self, metric: int, value: int) -> None:
        """Set a gauge."""
        self._set(self.slot, metric, value)


def render(shared: Shared) -> str:
    """All metrics as Prometheus text: summed over the slots, dead workers' counters among them."""
    columns = list(zip(*(shared.row(slot) for slot in range(shared.slots)), strict=True))
    lines = []
    for definition in DEFINITIONS:
        lines.append(f"# HELP {definition.name} {definition.meaning}")
        lines.append(f"# TYPE {definition.name} {definition.kind}")
        fold = max if definition.same else sum
        for value in definition.values:
            number = fold(columns[index(definition.name, value)])
            shown = number if definition.unit == 1 else number / definition.unit
            lines.append(f"{_sample(definition, value)} {shown}")
    return "\n".join(lines) + "\n"
