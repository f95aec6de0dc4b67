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

CLIENT_WAIT: int
"""Wait for input, at most as long as `timeout_kind` says."""
CLIENT_READY: int
"""The connection is set up: a transaction may begin."""
CLIENT_DONE: int
"""The transaction has ended: take the outcomes. The next may begin."""
CLIENT_CLOSED: int
"""Write what `output` gives and close. Outcomes are there if a transaction was running."""
CLIENT_MORE: int
"""Content from a file: call `output` again whenever the transport has room."""

@final
class Client:
    """One connection to a next hop, in SMTP or LMTP (RFC 5321, RFC 2033, RFC 2920): no socket, no clock.

    After each call that gives a step, write `output()`. Bad input is a step; ValueError is for a caller's mistake.
    """

    def __new__(cls, hello_name: str, *, lmtp: bool = False) -> Client:
        """Speak on a connection just made. ValueError unless `hello_name` is printable ASCII without spaces."""
    def receive(self, chunk: bytes) -> int:
        """Take what the socket gave; the step."""
    def output(self) -> bytes:
        """Take what is to be written; may turn the step from CLIENT_MORE to CLIENT_WAIT or CLIENT_CLOSED."""
    def begin(self, message: Message, recipient_indexes: list[int]) -> int:
        """Begin a transaction; ValueError unless the step is CLIENT_READY or CLIENT_DONE. Reads no file beyond its header section."""
    def quit(self) -> int:
        """End an idle connection: QUIT is written, its reply gives CLIENT_CLOSED."""
    def end(self, cause: str) -> int:
        """Close, the connection being lost or given up: undecided recipients are deferred with `421 4.4.2 {cause} {place}`; CLIENT_CLOSED."""
    def outcomes(self) -> list[tuple[int, int, str]]:
        """Take (recipient index, state 0 deferred, 1 delivered, 2 failed, reply in one ASCII line), one for each index begun with."""
    @property
    def step(self) -> int: ...
    @property
    def timeout_kind(self) -> int:
        """Time limit that applies: 0 greeting, 1 MAIL, 2 RCPT, 3 DATA, 4 block, 5 end of data, 6 idle (RFC 5321 4.5.3.2)."""
    @property
    def refusal(self) -> tuple[int, str] | None:
        """Why the connection closed before it was ready: (state 0 or 2, reply)."""
    @property
    def replies(self) -> int:
        """Whole replies read so far: the progress that starts a time limit anew."""
    @property
    def untouched(self) -> bool:
        """Closed before anything but 421 was replied to the transaction."""

# --- session ---

# --- shared ---

# --- snapshot ---

# --- spool ---

# --- wheel ---
