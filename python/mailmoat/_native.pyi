"""The boundary between Python and Rust: typed, documented, held to the built module by mypy.stubtest.

Bytes, str, ints and frozen classes cross; never callbacks, settings, sockets, the loop, or exceptions for a peer's bad input.
An *owner* or *waiter* is any Python object: it is kept and handed back, never called.
"""

from typing import final

# --- message ---

@final
class Message:
    """Envelope, trace fields and content of one message; never changes."""

    def __new__(
        cls,
        *,
        queue_id: str,
        arrival: int,
        reverse_path: str,
        recipients: list[str],
        content: bytes,
        trace: bytes = b"",
        smtputf8: bool = False,
    ) -> Message: ...
    @property
    def queue_id(self) -> str: ...
    @property
    def arrival(self) -> int:
        """Milliseconds since the epoch."""
    @property
    def due(self) -> int:
        """Next attempt, milliseconds since the epoch, as it was stored."""
    @property
    def attempts(self) -> int: ...
    @property
    def reverse_path(self) -> str:
        """Without angle brackets; empty for the null reverse-path."""
    @property
    def recipients(self) -> list[tuple[str, int, str]]:
        """(address, state, reply); state 0 pending, 1 delivered, 2 failed and a report owed, 3 failed and closed."""
    @property
    def smtputf8(self) -> bool: ...
    @property
    def eight_bit(self) -> bool: ...
    @property
    def session_id(self) -> str: ...
    @property
    def client(self) -> str: ...
    @property
    def size(self) -> int:
        """Octets of trace fields and content."""
    @property
    def content_path(self) -> str | None:
        """The content file, or None while the content is in memory."""
    def octets(self) -> bytes:
        """Trace fields and content; of a content file the trace fields alone."""

# --- address ---

# --- client ---

# --- session ---

# --- shared ---

@final
class Shared:
    """Memory shared by all processes of a server; made before fork. Slots `0..workers-1` are the workers', the last is the supervisor's.

    A slot or index that does not exist raises IndexError. Figures are indexed counters first, then gauges.
    """

    def __new__(cls, workers: int, counters: list[str], sources: int = 65_536, gauges: list[str] = ...) -> Shared:
        """Room for `sources` sources a slot (16 octets each, rounded up to a power of two). OSError when memory is short."""
    @property
    def names(self) -> list[str]:
        """Names of the figures in the order of their indexes."""
    @property
    def slots(self) -> int:
        """Workers and supervisor."""
    @property
    def size(self) -> int:
        """Octets mapped; what nobody touched takes no memory."""
    def add(self, slot: int, index: int, n: int = 1) -> None:
        """Adds to a figure; `n` may be negative for a gauge."""
    def set(self, slot: int, index: int, value: int) -> None: ...
    def sum(self, index: int) -> int:
        """The figure summed over the slots."""
    def row(self, slot: int) -> list[int]: ...
    def reset_gauges(self, slot: int) -> None:
        """For a dead worker: gauges, oldest held session and shed requests to 0; counters stay."""
    def set_oldest_held(self, slot: int, since_ms: int) -> None:
        """Monotonic milliseconds since when the slot's longest-held session is held; 0 when it holds none."""
    def oldest_held(self) -> int | None:
        """The slot that has the host's longest-held session."""
    def request_shed(self, slot: int) -> None:
        """Asks the slot to shed its longest-held session; waking its worker is the caller's."""
    def take_shed_requests(self, slot: int) -> int:
        """Sheddings asked since the last call."""
    def source_enter(self, slot: int, source: bytes) -> int:
        """Counts a connection from a packed address (an IPv6 source is its /64; IPv4-mapped is IPv4; ValueError: neither 4 nor 16 octets).

        Gives the connections of that source on all slots, this one included. 0: the table has no place, nothing was counted and
        `source_leave` must not be called. Only the slot's own worker may call it.
        """
    def source_leave(self, slot: int, source: bytes) -> None:
        """Takes back one `source_enter`; an unknown source changes nothing."""
    def source_clear(self, slot: int) -> None:
        """Forgets the sources of a dead worker."""

# --- snapshot ---

# --- spool ---

# --- wheel ---

@final
class Wheel:
    """Owners waiting for their deadlines in milliseconds; never reads a clock. An owner is kept and given back, never called."""

    def __new__(cls, now_ms: int) -> Wheel: ...
    def schedule(self, deadline_ms: int, owner: object) -> int:
        """Keeps the owner; the key is never 0 and never used twice. A deadline that has passed counts at the next advance."""
    def cancel(self, key: int) -> bool:
        """Whether the owner still waited."""
    def advance(self, now_ms: int) -> list[object]:
        """Every owner with a deadline at or before `now_ms`, by deadline, then by order of scheduling. Time never goes back."""
    def next_deadline(self) -> int | None:
        """When to advance next: the earliest deadline, or somewhat before it after a cancel; then advancing gives nothing."""
    def __len__(self) -> int: ...
